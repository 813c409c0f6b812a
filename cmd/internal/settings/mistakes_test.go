package settings

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "rewrite the expected messages in testdata")

// TestMistakes goes through testdata/*.txtar. NAME.hcl is a settings file,
// NAME.json its userdata (default: role, cluster and environment), NAME.txt
// what is said about the snapshotter "s": the whole text, as the user sees it.
func TestMistakes(t *testing.T) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, path := range archives {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files := map[string]string{}
		for _, file := range archive.Files {
			files[file.Name] = string(file.Data)
		}
		cases := 0
		for i, file := range archive.Files {
			name, isSettings := strings.CutSuffix(file.Name, ".hcl")
			if !isSettings {
				continue
			}
			cases++
			t.Run(filepath.Base(path)+"/"+name, func(t *testing.T) {
				got := said(file.Name, files[file.Name], files[name+".json"])
				if *update {
					archive.Files = setFile(archive.Files, i, name+".txt", got)
					return
				}
				if diff := cmp.Diff(files[name+".txt"], got); diff != "" {
					t.Errorf("(-want +got)\n%s", diff)
				}
				if got == "" || strings.Contains(got, "internal error") {
					t.Errorf("a mistake is not told")
				}
			})
		}
		if cases == 0 {
			t.Errorf("%s has no case", path)
		}
		if *update {
			if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// said is what the user reads about the snapshotter s of the settings.
func said(name, text, userdata string) string {
	if userdata == "" {
		userdata = `{"role": "db", "cluster": "c1", "environment": "test"}`
	}
	f, err := Parse(name, []byte(text))
	var out strings.Builder
	if err == nil {
		_, err = f.Spec("s", Context{
			UserData: []byte(userdata), UserDataFrom: "--userdata", Environ: []string{"HOME=/root"},
			Warn: func(w *Error) { out.WriteString(w.Error() + "\n") },
		})
	}
	if err != nil {
		out.WriteString(err.Error() + "\n")
	}
	return out.String()
}

func setFile(files []txtar.File, after int, name, data string) []txtar.File {
	for i := range files {
		if files[i].Name == name {
			files[i].Data = []byte(data)
			return files
		}
	}
	return append(files, txtar.File{Name: name, Data: []byte(data)})
}
