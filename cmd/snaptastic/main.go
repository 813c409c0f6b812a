// Command snaptastic mounts the volumes of an EC2 instance from their newest
// tagged snapshots, and makes file-system-consistent snapshots of them.
//
// It wires everything: settings, recipes, runner, journal, steps, EC2 and this
// machine. One file per command. Nothing imports it.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
)

func main() {
	enterGuard() // a guard process is this program, and must be nothing else
	os.Exit(run(os.Args[1:]))
}

// garbagePercent bounds how much garbage may be on the heap before it is collected, in percent of what is in use. Pages of
// thousands of snapshots are read and dropped, on machines whose memory is meant for others. With 50,000 snapshots and 50 %
// the largest resident set is 60 MiB, and up to 73 MiB where the collector has to wait for a processor; with 30 % it is 57 MiB
// and takes a seventh more time.
const garbagePercent = 40

// collectEarly sets garbagePercent once the heap needed a first collection, at 4 MiB. Set at the start it makes Go collect
// at 2 MiB already, which costs each small command a millisecond and gains nothing.
func collectEarly() {
	if os.Getenv("GOGC") == "" {
		runtime.AddCleanup(new([64]byte), func(percent int) { debug.SetGCPercent(percent) }, garbagePercent)
	}
}

// run executes one command line and returns its exit code.
func run(args []string) int {
	collectEarly()
	ctx, stop := stopOnSignal(context.Background())
	defer stop()
	app := newApp(os.Stdin, os.Stdout, os.Stderr)
	defer app.close()
	root := rootCommand(app)
	root.SetArgs(args)
	code := app.exit(root.ExecuteContext(ctx))
	app.sendTraces()
	return code
}

// stopSignal is why a context ended. It counts as a cancellation wherever that
// is asked for: a wait that it cut off has not failed.
type stopSignal struct{ os.Signal }

func (s stopSignal) Error() string        { return "stopped by signal: " + s.String() }
func (s stopSignal) Is(target error) bool { return target == context.Canceled }

// stopOnSignal ends the context at the first SIGINT, SIGTERM or SIGHUP: the
// run starts nothing new, finishes what must not be cut off and stays
// resumable. A second signal ends the process at once, which is safe too: the
// journal has the intents, and the guard thaws.
func stopOnSignal(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	ch := make(chan os.Signal, 2)
	signal.Notify(ch, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	over := make(chan struct{})
	go func() {
		select {
		case s := <-ch:
			cancel(stopSignal{s})
		case <-over:
			return
		}
		select {
		case <-ch:
			os.Exit(exitInterrupted)
		case <-over:
		}
	}()
	return ctx, func() { signal.Stop(ch); close(over); cancel(nil) }
}
