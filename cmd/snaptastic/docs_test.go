package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// blocks are the fenced code blocks of a document, in order, with the word behind the fence.
func blocks(text string) (all [][2]string) {
	parts := strings.Split(text, "```")
	for i := 1; i < len(parts); i += 2 {
		kind, body, _ := strings.Cut(parts[i], "\n")
		all = append(all, [2]string{kind, body})
	}
	return all
}

// command is what a document tells its reader to type, and what it says appears then.
type command struct {
	typed string
	shown []string // lines; none: the document does not say
	alone bool     // a line of a transcript, which may fail if it shows that
}

// commands are those of a document's blocks: the lines of a block without a
// word behind the fence, and of a text block those behind "# ". A text block
// without such lines shows what the block before it prints.
func commands(text string) (all []command) {
	for _, b := range blocks(text) {
		switch {
		case b[0] == "":
			all = append(all, command{typed: b[1]})
		case b[0] == "text":
			for line := range strings.Lines(b[1]) {
				if typed, ok := strings.CutPrefix(line, "# "); ok {
					all = append(all, command{typed: typed, alone: true})
				} else if last := len(all) - 1; last >= 0 && strings.TrimSpace(line) != "" {
					all[last].shown = append(all[last].shown, strings.TrimSpace(line))
				}
			}
		}
	}
	return all
}

// varying are the parts of an output that differ from run to run, and what stands for them.
var varying = []struct {
	is *regexp.Regexp
	as string
}{
	{regexp.MustCompile(`\x1b\[[0-9;]*m`), ""},
	{regexp.MustCompile(`\b(vol|snap|ami|i)-[0-9a-f]{17}\b`), "$1-ID"},
	{regexp.MustCompile(`\b\d{8}T\d{9}-[0-9a-f]{4}\b`), "RUN"},
	{regexp.MustCompile(`\b\d{4}-\d{2}-\d{2}T[0-9:.]+Z`), "TIME"},
	{regexp.MustCompile(`\b\d{4}-\d{2}-\d{2}( \d{2}:\d{2})?\b`), "DAY"},
	{regexp.MustCompile(`\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}\b`), "BOOT"},
	{regexp.MustCompile(`\b([0-9a-f]{64}|[0-9a-f]{32})\b`), "HASH"},
	{regexp.MustCompile(`^version +\S+$`), "version V"},
	{regexp.MustCompile(`\bpid \d+`), "pid N"},
	{regexp.MustCompile(`\bloop\d+`), "loopN"},
	{regexp.MustCompile(`\b(\d+(\.\d+)? (ms|s|min|h|days?)\b ?)+\b`), "TOOK "},
	{regexp.MustCompile(`[0-9.]+ [MG]iB of data`), "SIZE of data"},
	{regexp.MustCompile(`\s+`), " "},
	// Which steps were slow depends on the machine.
	{regexp.MustCompile(` SLOWEST STEPS ?$`), ""},
	{regexp.MustCompile(`^ ?(/.*?)(( [a-z][a-z-]* TOOK ?,?)+| -) ?$`), "$1"},
}

// comparable is a line without what varies.
func comparable(line string) string {
	line = strings.TrimSpace(line)
	for _, v := range varying {
		line = v.is.ReplaceAllString(line, v.as)
	}
	return strings.TrimSpace(line)
}

// missing is the first line that does not begin a line of an output, in the
// order in which they are shown.
func missing(shown []string, output string) string {
	lines := strings.Split(output, "\n")
	for _, want := range shown {
		found := false
		for len(lines) > 0 && !found {
			found = strings.HasPrefix(comparable(lines[0]), comparable(want))
			lines = lines[1:]
		}
		if !found {
			return want
		}
	}
	return ""
}

// reader types what a document says, as root, into one shell.
type reader struct {
	t     *testing.T
	dir   string            // everything is below it
	paths *strings.Replacer // from the paths of the document to those below dir
	env   []string          // beside the test's own
}

// written is what a command wrote, and its exit code.
type written struct {
	text string
	code int
}

// follow types the commands one after the other, in a shell that it leaves at
// the first block that fails, and compares what they print.
func (r reader) follow(all []command) {
	r.t.Helper()
	out := r.typeAll(all)
	for i, c := range all {
		if line := missing(r.shown(c), out[i].text); line != "" {
			r.t.Errorf("%q does not show\n%s\nbut\n%s", strings.TrimSpace(c.typed), line, out[i].text)
		}
	}
}

// shown is what a command shows here.
func (r reader) shown(c command) (lines []string) {
	for _, line := range c.shown {
		lines = append(lines, r.paths.Replace(line))
	}
	return lines
}

// typeAll types the commands into one shell, in which $? is the code of the command before.
func (r reader) typeAll(all []command) (out []written) {
	r.t.Helper()
	const mark = "@@ command "
	var script strings.Builder
	script.WriteString("shopt -s expand_aliases\nexec 2>&1\ntrap 'kill $(jobs -p) 2>/dev/null' EXIT\ncode=0\n")
	for i, c := range all {
		fmt.Fprintf(&script, "echo; echo '%s%d'\n(exit $code)\n%s\ncode=$?\n", mark, i, strings.TrimSpace(c.typed))
		if !c.alone { // the last command of a block has to succeed
			fmt.Fprintf(&script, "[ $code = 0 ] || { echo; echo 'block %d failed with' $code; exit 1; }\n", i)
		}
		script.WriteString("echo; echo \"@@ exit code $code\"\n")
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), 8*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", r.paths.Replace(script.String()))
	cmd.WaitDelay = 10 * time.Second
	cmd.Dir, cmd.Env = r.dir, append(os.Environ(), r.env...)
	raw, err := cmd.CombinedOutput()
	text := string(raw)
	if err != nil {
		r.t.Fatalf("%v\n%s", err, text)
	}
	plain(r.t, text)
	for i, c := range all {
		_, after, found := strings.Cut(text, fmt.Sprintf("%s%d\n", mark, i))
		if !found {
			r.t.Fatalf("the shell did not come as far as %q:\n%s", c.typed, text)
		}
		after, code, _ := strings.Cut(after, "@@ exit code ")
		var p written
		if _, err := fmt.Sscan(code, &p.code); err != nil {
			r.t.Fatalf("%q has no exit code: %v\n%s", c.typed, err, text)
		}
		p.text = after
		out = append(out, p)
	}
	return out
}

// whenLive is, in place of the moments in which a document lets a mount begin, a wait of as long as this machine needs.
func whenLive(program string) []string {
	return []string{"& sleep 3;", "& until " + program + " status | grep -q '^2.* live '; do sleep 0.1; done;"}
}

// self links this program, as snaptastic, into a folder.
func self(t *testing.T, dir string) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "snaptastic")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(exe, bin); err != nil {
		t.Fatal(err)
	}
	return bin
}

// document is a file of the repository.
func document(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// block is the first block of a document with a word behind the fence.
func block(t *testing.T, text, kind string) string {
	t.Helper()
	for _, b := range blocks(text) {
		if b[0] == kind {
			return b[1]
		}
	}
	t.Fatalf("no block of %s", kind)
	return ""
}

// Whoever types the tutorial, from its first line to its last, sees what it shows.
func TestTheTutorialIsTrue(t *testing.T) {
	t.Parallel()
	needRig(t)
	text := document(t, "docs/tutorial.md")
	dir := t.TempDir()
	bin := self(t, dir)
	r := reader{t: t, dir: dir, paths: strings.NewReplacer(append(whenLive("snaptastic"), "make build\n", "", "$PWD/bin/snaptastic", bin, "/root/", dir+"/", "/mnt/solr", dir+"/mnt")...)}
	settings := filepath.Join(dir, "solr.hcl")
	if err := os.WriteFile(settings, []byte(r.paths.Replace(block(t, text, "hcl"))), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { takeDown(bin, settings, filepath.Join(dir, "lab")) })
	r.follow(commands(text))
	for _, left := range []string{"lab", "solr.hcl", "solr.html"} {
		if _, err := os.Lstat(filepath.Join(dir, left)); !os.IsNotExist(err) {
			t.Errorf("the tutorial leaves %s behind: %v", left, err)
		}
	}
}

// takeDown ends what a document left in a sandbox; after a success there is nothing.
func takeDown(bin, settings, state string) {
	if _, err := os.Lstat(state); err != nil {
		return
	}
	for _, args := range [][]string{{"run", "unmount", "solr", "--yes"}, {"sandbox", "reset"}} {
		_ = exec.Command(bin, append([]string{"--settings", settings, "--state-dir", state, "--sandbox"}, args...)...).Run()
	}
}

// section is a part of a document, from its heading to the next of that rank.
func section(t *testing.T, text, heading string) string {
	t.Helper()
	_, after, found := strings.Cut(text, "\n## "+heading+"\n")
	if !found {
		t.Fatalf("no section %q", heading)
	}
	part, _, _ := strings.Cut(after, "\n## ")
	return part
}

// Every block of the README is typed by a test: here, or, what installs
// packages, by packaging/try.
func TestEveryBlockOfTheREADMEIsTyped(t *testing.T) {
	t.Parallel()
	text := document(t, "README.md")
	typed := 0
	for _, heading := range []string{"Try it", "Install", "On an instance"} {
		typed += len(blocks(section(t, text, heading)))
	}
	if all := len(blocks(text)); all != typed {
		t.Errorf("%d of %d blocks are in sections that no test types", all-typed, all)
	}
}

// A clone and make demo show what the README says, and make clean-demo leaves nothing.
func TestTheREADMEsDemo(t *testing.T) {
	t.Parallel()
	needRig(t)
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, ".git")); err != nil {
		t.Skip("not a clone of the repository: ", err)
	}
	dir := t.TempDir()
	demo := filepath.Join(dir, "demo")
	r := reader{t: t, dir: dir, paths: strings.NewReplacer("/var/lib/snaptastic-demo", demo)}
	r.env = []string{"REPOSITORY=" + root, "DEMO=" + demo, "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"}
	t.Cleanup(func() {
		_ = exec.Command("make", "-C", root, "clean-demo", "DEMO="+demo).Run()
	})
	all := commands(section(t, document(t, "README.md"), "Try it"))
	for i := range all { // the end of what make demo prints, not to be typed
		if all[i].alone {
			all[i-1].shown = append([]string{"# " + strings.TrimSpace(all[i].typed)}, all[i].shown...)
			all = append(all[:i], all[i+1:]...)
			break
		}
	}
	r.follow(all)
	if _, err := os.Lstat(demo); !os.IsNotExist(err) {
		t.Errorf("the demo is left: %v", err)
	}
}

// The settings and the two commands of an instance do what the README shows.
func TestTheREADMEsInstance(t *testing.T) {
	t.Parallel()
	needRig(t)
	part := section(t, document(t, "README.md"), "On an instance")
	dir := t.TempDir()
	bin := self(t, filepath.Join(dir, "bin"))
	settings, state := filepath.Join(dir, "snaptastic.hcl"), filepath.Join(dir, "state")
	r := reader{t: t, dir: dir, paths: strings.NewReplacer("/mnt/solr", dir+"/mnt")}
	r.env = []string{"PATH=" + filepath.Dir(bin) + ":" + os.Getenv("PATH"), "SNAPTASTIC_SETTINGS=" + settings, "SNAPTASTIC_STATE_DIR=" + state, "SNAPTASTIC_SANDBOX=" + filepath.Join(state, "sandbox")}
	if err := os.WriteFile(settings, []byte(r.paths.Replace(block(t, part, "hcl"))), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { takeDown(bin, settings, state) })
	r.follow(commands(part))
}

// The practice of the operations guide works as it is written.
func TestThePracticeOfTheOperationsGuide(t *testing.T) {
	t.Parallel()
	needRig(t)
	part := section(t, document(t, "docs/operations.md"), "Practice in the sandbox")
	dir := t.TempDir()
	bin := self(t, filepath.Join(dir, "bin"))
	settings := filepath.Join(dir, "snaptastic.hcl")
	r := reader{t: t, dir: dir, paths: strings.NewReplacer(append(whenLive("lab"), "/root/", dir+"/", "/mnt/solr", dir+"/mnt")...)}
	r.env = []string{"PATH=" + filepath.Dir(bin) + ":" + os.Getenv("PATH"), "SNAPTASTIC_SETTINGS=" + settings, "SNAPTASTIC_STATE_DIR=" + filepath.Join(dir, "elsewhere")}
	hcl := block(t, section(t, document(t, "README.md"), "On an instance"), "hcl")
	if err := os.WriteFile(settings, []byte(r.paths.Replace(hcl)), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := os.Lstat(filepath.Join(dir, "lab")); err == nil {
			_ = exec.Command(bin, "--sandbox="+filepath.Join(dir, "lab"), "sandbox", "reset").Run()
		}
	})
	all := commands(part)
	all[1].shown = []string{"20261122T231221719-ec9e mount solr interrupted", "/mnt/solr done", "run 20261122T231221719-ec9e is done"}
	r.follow(all)
}
