package settings

import (
	"bytes"
	"errors"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/txtar"

	"snaptastic/ec2/ebs"
	"snaptastic/linux"
	"snaptastic/steps/recipe"
)

// seeds gives every settings file of testdata and of the examples, with its
// userdata.
func seeds(f *testing.F, add func(settings, userdata string)) {
	f.Helper()
	archives, _ := filepath.Glob("testdata/*.txtar")
	for _, name := range archives {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		files := map[string]string{}
		for _, file := range archive.Files {
			files[file.Name] = string(file.Data)
		}
		for name, text := range files {
			if stem, ok := strings.CutSuffix(name, ".hcl"); ok {
				add(text, files[stem+".json"])
			}
		}
	}
	examples, _ := filepath.Glob("../../../examples/*.hcl")
	for _, name := range examples {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		add(string(text), `{"role":"r","cluster":"c","environment":"e"}`)
	}
	add(basics, `{"group":"g","cluster":"c","volumes":[{"device":"/dev/sdf","mount_point":"/a","size":5}]}`)
}

// FuzzLoad holds that no text makes Parse panic, and that it gives either
// settings or an error that can be shown.
func FuzzLoad(f *testing.F) {
	seeds(f, func(settings, _ string) { f.Add([]byte(settings)) })
	f.Add([]byte("\xef\xbb\xbfmax_hold = \"1s\""))
	f.Fuzz(func(t *testing.T, src []byte) {
		file, err := Parse("fuzz.hcl", src)
		if err == nil {
			for _, name := range file.Names() {
				if !validName.MatchString(name) {
					t.Errorf("name %q is taken", name)
				}
			}
			return
		}
		if err.Error() == "" {
			t.Error("an error without a word")
		}
	})
}

// FuzzSpec holds that no settings with any userdata make Spec panic, and that
// what it gives can be carried out.
func FuzzSpec(f *testing.F) {
	seeds(f, func(settings, userdata string) { f.Add([]byte(settings), []byte(userdata)) })
	f.Fuzz(func(t *testing.T, src, userdata []byte) {
		file, err := Parse("fuzz.hcl", src)
		if err != nil {
			return
		}
		env := []string{"HOME=/root"}
		good := true
		for _, name := range file.Names() {
			spec, err := file.Spec(name, Context{
				UserData: userdata,
				Instance: func() (Instance, error) { return Instance{ID: "i-1", Tags: map[string]string{"Name": "n"}}, nil },
				Environ:  env,
				Warn:     func(w *Error) { _ = w.Error() },
			})
			good = good && err == nil
			var mistake *Error
			switch {
			case errors.As(err, &mistake):
				if mistake.Error() == "" || len(mistake.Lines()) == 0 {
					t.Error("an error without a word")
				}
			case err != nil:
				t.Errorf("%v is not a mistake in the file", err)
			default:
				checkSpec(t, spec)
			}
		}
		// What can be used somewhere is no mistake where less is known. An operation may refuse it all the same, and with a
		// list that is not known what a dynamic block would hold is looked at.
		v := file.Validate(Context{Environ: env})
		if good && v.Failed && !strings.Contains(v.Report.Error(), "cannot be used for") && !bytes.Contains(src, []byte("dynamic")) {
			t.Errorf("it is good with userdata %s, and not without:\n%v", userdata, v.Report)
		}
	})
}

// checkSpec asserts what every step may rely on.
func checkSpec(t *testing.T, spec recipe.Spec) {
	t.Helper()
	must := func(ok bool, format string, args ...any) {
		t.Helper()
		if !ok {
			t.Errorf(format, args...)
		}
	}
	must(len(spec.Volumes) > 0, "no volumes")
	must(len(spec.FilterTags) > 0, "no filter tags")
	for key, value := range spec.FilterTags {
		must(tagProblem(key, value) == "", "tag %q=%q: %s", key, value, tagProblem(key, value))
	}
	must(slices.Contains([]recipe.Consistency{recipe.ByGroup, recipe.ByVolume}, spec.Consistency), "consistency %q", spec.Consistency)
	must(slices.Contains([]recipe.OnMissing{recipe.CreateEmpty, recipe.FailIfMissing}, spec.OnMissing), "on_missing %q", spec.OnMissing)
	must(spec.ExpireAfter >= 0 && spec.ExpireAfter <= 100*365*24*time.Hour, "expire_after %v", spec.ExpireAfter)
	must(spec.MaxHold == 0 || spec.MaxHold >= time.Second && spec.MaxHold <= time.Minute, "max_hold %v", spec.MaxHold)
	devices, mounts := map[string]bool{}, map[string]bool{}
	for _, v := range spec.Volumes {
		canonical, _, err := linux.CanonicalDeviceName(v.Device)
		must(err == nil && canonical == v.Device, "device %q: %v", v.Device, err)
		must(!devices[deviceKey(v.Device)] && !mounts[v.MountPoint], "volume %s at %s is there twice", v.Device, v.MountPoint)
		devices[deviceKey(v.Device)], mounts[v.MountPoint] = true, true
		must(path.IsAbs(v.MountPoint) && path.Clean(v.MountPoint) == v.MountPoint && v.MountPoint != "/", "mount point %q", v.MountPoint)
		must(!strings.ContainsFunc(v.MountPoint, isControl) && !strings.Contains(v.MountPoint, ","), "mount point %q", v.MountPoint)
		must(slices.Contains(linux.FileSystems(), v.FileSystem), "file system %q", v.FileSystem)
		limits, known := ebs.Types[v.VolumeType]
		must(known && int64(v.Size) >= limits.MinSize && int64(v.Size) <= limits.MaxSize, "%d GiB of %q", v.Size, v.VolumeType)
		must(v.IOPS == 0 && !limits.NeedsIOPS || iopsProblem(limits, v.VolumeType, int64(v.IOPS), int64(v.Size)) == "", "%d IOPS of %+v", v.IOPS, v)
		must(v.Throughput == 0 || throughputProblem(limits, v.VolumeType, int64(v.Throughput), int64(v.IOPS)) == "", "%d MiB/s of %+v", v.Throughput, v)
		must(v.KMSKeyID == "" || v.Encrypted != nil && *v.Encrypted, "a key without encryption")
		must(v.Description != "" && utf8.RuneCountInString(v.Description) <= maxDescription && !strings.ContainsFunc(v.Description, isControl), "description %q", v.Description)
	}
	for name, hook := range spec.Hooks {
		must(slices.Contains(recipe.HookNames, name), "hook %q", name)
		must(len(hook.Command) > 0 && hook.Command[0] != "", "hook %s runs %q", name, hook.Command)
		must(hook.Timeout > 0 && hook.Timeout <= 24*time.Hour, "hook %s has %v", name, hook.Timeout)
		must(hook.When == "" && strings.HasPrefix(name, "pre_") || hook.When == recipe.Success && strings.HasPrefix(name, "post_") ||
			hook.When == recipe.Always && (strings.HasPrefix(name, "post_") || slices.Contains(mountHooks, name)) ||
			hook.When == recipe.Changed && slices.Contains(mountHooks, name), "hook %s runs when %q", name, hook.When)
	}
}
