package guard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultMaxHold is how long file systems stay frozen at most, unless Options says otherwise.
const DefaultMaxHold = 10 * time.Second

// Options of a guard. The zero value works.
type Options struct {
	Executable string        // program whose main calls Enter first; "" = /proc/self/exe
	MaxHold    time.Duration // from the first FIFREEZE issued; 0 = DefaultMaxHold
	OwnedDir   string        // directory for the owned file; "" = none, and then nothing helps when both are killed
	Run        string        // written into the owned file
	Section    string        // written into the owned file
	NotAfter   time.Time     // by CLOCK_REALTIME: the guard freezes nothing that it is told to freeze later; zero: whenever
	Expedite   bool          // /sys/kernel/rcu_expedited = 1 for the window: a freeze of 3 ms instead of 30 ms
}

// Mount is a file system to freeze.
type Mount struct {
	Path string // its mount point
	Dev  string // "major:minor" that it must be on; "" = any
}

// Guard is a running guard process and the parent's own descriptors of the same file systems. A Guard freezes once.
type Guard struct {
	mounts    []target
	o         Options
	owned     *ownedFile
	record    ownedRecord // what is in owned
	claim     *expedite
	conn      *os.File
	cmd       *exec.Cmd
	stderr    stderrTail
	ready     chan message
	reaped    chan struct{}  // closed when the guard has left the kernel: no freeze of its can come any more
	drained   chan struct{}  // closed when its last word is taken in
	broken    chan struct{}  // closed when the hold ended before Thaw was called
	once      sync.Once      // closes broken
	takeovers sync.WaitGroup // what thaws in the guard's place
	warnings  []string       // written by Start alone

	mu        sync.Mutex
	changed   chan struct{} // closed and replaced at every change below
	state     []progress
	started   bool
	ending    endCause
	exitError string // why the guard exited, "" while it runs
	thawCall  int64  // monotonic moment of the first Thaw, 0 before
	orderAt   int64  // monotonic moment of the order to freeze
	epoch     int64  // CLOCK_REALTIME minus CLOCK_MONOTONIC at that moment
	released  bool
}

// progress is the parent's state of one file system.
type progress struct {
	phase   phase
	errno   syscall.Errno // of the freeze when refused, of the thaw when thawed
	stuck   syscall.Errno // last failed thaw, while it is still tried
	issued  int64         // FIFREEZE
	frozen  int64         // FIFREEZE returned
	thawing int64         // FITHAW
	thawed  int64         // FITHAW returned
	wrote   int64         // sectors that reached its device from the freeze to the thaw
}

// Start opens every mount point, starts the guard and returns when it is ready: descriptors open, memory locked, its
// threads waiting, the owned file on disk. Nothing is frozen yet. It refuses the root file system, a path that is not
// a mount point, a device other than the expected one, and one file system under two names. The descriptors keep the
// file systems from being unmounted until Release. ctx bounds the start alone.
func Start(ctx context.Context, mounts []Mount, o Options) (_ *Guard, err error) {
	if len(mounts) == 0 || len(mounts) > maxMounts {
		return nil, fmt.Errorf("cannot freeze %d file systems together: 1 to %d", len(mounts), maxMounts)
	}
	if o.Executable == "" {
		o.Executable = "/proc/self/exe"
	}
	if o.MaxHold <= 0 {
		o.MaxHold = DefaultMaxHold
	}
	g := &Guard{
		o: o, state: make([]progress, len(mounts)), changed: make(chan struct{}),
		ready: make(chan message, 1), reaped: make(chan struct{}), drained: make(chan struct{}), broken: make(chan struct{}),
	}
	if g.mounts, err = openAll(mounts); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			g.abort()
		}
	}()
	if o.OwnedDir != "" {
		if g.owned, err = createOwned(o.OwnedDir, o.Run, o.Section); err != nil {
			return nil, err
		}
	}
	if o.Expedite {
		if g.claim, err = claimExpedite(o.OwnedDir); err != nil {
			g.warnings = append(g.warnings, fmt.Sprintf("cannot expedite the freeze: %v", err))
		}
	}
	if err := g.launch(); err != nil {
		return nil, fmt.Errorf("cannot start the freeze guard: %w", err)
	}
	if err := g.awaitReady(ctx); err != nil {
		return nil, fmt.Errorf("cannot start the freeze guard: %w", err)
	}
	return g, nil
}

// launch starts the child and sends it its configuration.
func (g *Guard) launch() error {
	ours, theirs, err := socketPair()
	if err != nil {
		return err
	}
	defer theirs.Close()
	g.conn = ours

	cfg := config{MaxHold: g.o.MaxHold, Expedite: g.claim}
	if !g.o.NotAfter.IsZero() {
		cfg.NotAfter = g.o.NotAfter.UnixNano()
	}
	g.cmd = &exec.Cmd{
		Path:        g.o.Executable,
		Args:        []string{argv0},
		Env:         []string{marker + "=1"},
		Dir:         "/", // so that it pins no mount but those it holds
		ExtraFiles:  []*os.File{theirs},
		Stderr:      &g.stderr,
		WaitDelay:   time.Second,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true, Pdeathsig: parentDied},
	}
	for _, m := range g.mounts {
		cfg.Paths = append(cfg.Paths, m.path)
		cfg.Counters = append(cfg.Counters, m.counter)
		g.cmd.ExtraFiles = append(g.cmd.ExtraFiles, m.dir)
	}
	if g.owned != nil {
		cfg.Owned = g.owned.path
		g.cmd.ExtraFiles = append(g.cmd.ExtraFiles, g.owned.file) // held for its lock alone
	}
	if g.claim != nil && g.claim.lock != nil {
		g.cmd.ExtraFiles = append(g.cmd.ExtraFiles, g.claim.lock) // likewise
	}
	orders, err := json.Marshal(cfg)
	if err != nil {
		return fmt.Errorf("internal error: %w", err)
	}
	if len(orders) > maxPacket {
		return fmt.Errorf("the mount point names are too long in total (%d bytes)", len(orders))
	}
	if err := g.spawn(); err != nil {
		return err
	}
	go g.listen()
	_, err = g.conn.Write(orders)
	return err
}

// socketPair makes the socket between parent and guard. Its buffer holds every message of a guard: the parent may not
// be reading.
func socketPair() (parent, guard *os.File, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	// A packet is charged with about 800 bytes (net/core/sock.c), so the default of 208 KiB holds 270. Without
	// CAP_NET_ADMIN that is the limit, enough for 60 file systems.
	_ = unix.SetsockoptInt(pair[1], unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 2<<20)
	_ = unix.SetNonblock(pair[0], true) // so that the runtime's poller serves it
	return os.NewFile(uintptr(pair[0]), "guard socket"), os.NewFile(uintptr(pair[1]), "guard socket"), nil
}

// spawn starts the child from a thread that lives until the child is reaped: the kernel sends the parent-death signal
// when the starting thread dies, not the process.
func (g *Guard) spawn() error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := g.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		_ = g.cmd.Wait() // how it ended is in ProcessState
		close(g.reaped)
	}()
	return <-started
}

// Warnings returns what an operator should know about a guard that has started: what protects it less than it should.
func (g *Guard) Warnings() []string { return g.warnings }

// awaitReady waits until the guard is ready and then writes the owned file.
func (g *Guard) awaitReady(ctx context.Context) error {
	select {
	case m := <-g.ready:
		if m.errno != 0 {
			return errors.New(m.text)
		}
		if m.text != "" {
			g.warnings = append(g.warnings, "the freeze guard is not fully protected: "+m.text)
		}
	case <-g.reaped:
		return fmt.Errorf("it exited at once: %s", g.exitReason())
	case <-ctx.Done():
		return ctx.Err()
	}
	if g.owned == nil {
		return nil
	}
	boot, err := bootID()
	if err != nil {
		return err
	}
	r := ownedRecord{Schema: ownedSchema, Run: g.o.Run, Section: g.o.Section, Boot: boot, Deadline: noDeadline}
	if r.Parent, err = identify(os.Getpid()); err != nil {
		return err
	}
	if r.Guard, err = identify(g.cmd.Process.Pid); err != nil {
		return err
	}
	for _, m := range g.mounts {
		r.Mounts = append(r.Mounts, ownedMount{Path: m.path, Dev: m.dev})
	}
	g.record = r
	return g.owned.write(r)
}

// abort cleans up after a failed Start: nothing was frozen.
func (g *Guard) abort() {
	if g.cmd != nil && g.cmd.Process != nil {
		_ = g.cmd.Process.Kill()
		<-g.reaped
	}
	g.closeAll()
}

// closeAll closes everything. Call it only when nothing is frozen and the guard is reaped or was never started.
func (g *Guard) closeAll() {
	g.takeovers.Wait() // a descriptor must not be closed under a FITHAW and its number mean another file
	if g.conn != nil {
		g.conn.Close()
	}
	closeAll(g.mounts)
	g.claim.end()
	g.claim.close()
	g.owned.drop()
}

// PID is the guard's process id.
func (g *Guard) PID() int { return g.cmd.Process.Pid }

// Broken is closed when the freeze ends before Thaw is called: MaxHold passed, the guard died, or a freeze failed.
// Work that needs the freeze can stop then.
func (g *Guard) Broken() <-chan struct{} { return g.broken }

// exitReason returns how the guard ended. Call it only after the guard was reaped.
func (g *Guard) exitReason() string {
	s := g.cmd.ProcessState.String()
	if text := g.stderr.String(); text != "" {
		s += ": " + text
	}
	return s
}

// stderrTail keeps the first bytes that the guard writes to standard error: nothing, unless it crashes.
type stderrTail struct {
	mu sync.Mutex
	b  []byte
}

func (t *stderrTail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if room := 2048 - len(t.b); room > 0 {
		t.b = append(t.b, p[:min(room, len(p))]...)
	}
	return len(p), nil
}

func (t *stderrTail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b)
}
