// Command bench measures snaptastic against its physical limits, each figure
// and its limit in the same run, prints them as a table and writes them as
// JSON. docs/performance.md says what the figures mean.
//
// It drives the engine's packages and the built binary; it imports whatever it
// measures, and nothing imports it.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"snaptastic/plan/units"
	"syscall"
	"time"
)

// options are the command line.
type options struct {
	bin     string // the program measured
	dir     string // a folder on a real disk for everything made here
	reps    int    // repetitions of what is quick
	windows int    // freeze windows per latency
	only    *regexp.Regexp
}

func main() {
	bin := flag.String("bin", "bin/snaptastic", "the `program` to measure")
	dir := flag.String("dir", "/var/tmp", "`folder` on a real disk")
	out := flag.String("json", "dist/bench.json", "`file` to write")
	reps := flag.Int("reps", 7, "repetitions, of which the median counts")
	windows := flag.Int("windows", 50, "freeze windows per latency")
	only := flag.String("only", "", "run groups that match this `expression`: engine, linear, resume, cold, boot, restore, drill, warm, calls, mkfs, freeze, expedite, watched")
	flag.Parse()
	// A signal ends the run between two figures: never between a freeze and
	// its thaw, and not before what was made is removed.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := measure(ctx, options{bin: *bin, dir: *dir, reps: max(*reps, 5), windows: max(*windows, 5), only: regexp.MustCompile(*only)}, *out); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// groups in the order in which they run: what is disturbed most by leftovers
// of others comes first.
var groups = []struct {
	name string
	run  func(context.Context, *bench) error
}{
	{"engine", engine}, {"linear", linear}, {"resume", resume}, {"cold", cold},
	{"boot", boot}, {"restore", restore}, {"drill", drill}, {"warm", warm}, {"calls", calls}, {"mkfs", mkfs}, {"freeze", freeze}, {"expedite", expedite}, {"watched", watched},
}

// bench collects figures.
type bench struct {
	options
	figures []Figure
}

func measure(ctx context.Context, o options, out string) error {
	var err error
	if o.bin, err = filepath.Abs(o.bin); err != nil {
		return err
	}
	if o.dir, err = os.MkdirTemp(o.dir, "snaptastic-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(o.dir)
	b := &bench{options: o}
	for _, g := range groups {
		if !o.only.MatchString(g.name) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		began := time.Now()
		if err := g.run(ctx, b); err != nil {
			return fmt.Errorf("%s: %w", g.name, err)
		}
		fmt.Fprintf(os.Stderr, "%s took %s\n", g.name, units.Took(time.Since(began)))
	}
	fmt.Print(table(b.figures))
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	body, err := json.MarshalIndent(report{At: time.Now().UTC(), Go: runtime.Version(), CPUs: runtime.NumCPU(), Kernel: kernel(), Figures: b.figures}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(out, append(body, '\n'), 0o644)
}
