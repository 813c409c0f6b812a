package sandbox

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Config is the folder and the behaviour of a sandbox. DIR/faults.json overrides Latency, Faults and PageSize.
type Config struct {
	Dir       string   // holds everything; made when absent. A [WorldDir] is that world of the sandbox above it
	FilesOnly bool     // no loop devices: the API only, attachments publish plain files
	UserData  string   // the instance's user data; "" keeps what Dir has
	Latency   Latency  // how long things take
	Faults    []Fault  // how to misbehave
	PageSize  int      // most results a describe returns at once; 0: EC2's 1000
	Strict    bool     // the limits of EC2 that cost time, and describes that lag and go back now and then
	Policy    *Policy  // what the caller is allowed; nil: everything
	Keys      []string // KMS keys that cannot be used, as requests name them, with wildcards
	Hosts     []string // names and addresses besides loopback's by which clients may call it
}

// Sandbox is an open sandbox. Its methods may be called concurrently, and other
// processes may have the same folder open.
type Sandbox struct {
	root    string // the folder of all worlds
	here    World  // whose instance and metadata these are
	machine string // name of that instance; empty for the world's own
	config  Config
	pool    *pool

	mu     sync.Mutex // held for the length of a transaction, with the folder's lock
	store  store
	faults map[string]*faultFile // by world

	log callLog
}

// Missing returns what this machine lacks for block-device volumes, or nil. Without it a sandbox can still be opened
// with FilesOnly.
func Missing() error {
	if err := loopMissing(); err != nil {
		return fmt.Errorf("the sandbox can serve its API but attach no devices: %w", err)
	}
	return nil
}

// Open opens the sandbox in cfg.Dir, or creates it, and reconciles the host with its records: attached volumes get
// their devices back after a reboot, and leftovers of a killed process are completed or removed.
func Open(cfg Config) (*Sandbox, error) {
	w, err := open(cfg)
	if err != nil {
		return nil, fmt.Errorf("cannot open the sandbox in %s: %w", cfg.Dir, err)
	}
	return w, nil
}

func open(cfg Config) (*Sandbox, error) {
	if cfg.Dir == "" {
		return nil, errors.New("no folder given")
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, err
	}
	if !cfg.FilesOnly {
		if err := Missing(); err != nil {
			return nil, err
		}
	}
	given := dir
	dir, here, name := splitMachine(given)
	if dir == given {
		if err := misnamed(dir); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil { // the kernel names backing files so
		return nil, err
	}
	if err := os.MkdirAll(machineDir(dir, here.key(), name), 0o700); err != nil {
		return nil, err
	}
	w := &Sandbox{root: dir, here: here, machine: name, faults: map[string]*faultFile{}, config: cfg, log: callLog{path: filepath.Join(dir, "log.jsonl")}}
	w.store.path = filepath.Join(dir, "world.jsonl")
	if _, err := w.faultsOf(here.key()).read(cfg); err != nil {
		return nil, err
	}
	unlock, err := lockDir(dir, os.O_CREATE)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := w.load(); err != nil {
		return nil, errors.Join(err, w.store.close())
	}
	return w, nil
}

// load reads the records and brings the host in line with them.
func (w *Sandbox) load() (err error) {
	if _, err := w.store.catchUp(); err != nil {
		return err
	}
	if err := w.initialize(); err != nil {
		return err
	}
	if w.pool, err = openPool(w.root, w.config.FilesOnly); err != nil {
		return err
	}
	return w.reconcile()
}

// Close closes the files. Devices stay attached and the pool stays mounted, as EC2 outlives its clients.
func (w *Sandbox) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return errors.Join(w.store.close(), w.log.close())
}

// initialize founds the default world and the own one, and stores the settings of the own one.
func (w *Sandbox) initialize() error {
	now, key, dir := time.Now(), w.here.key(), machineDir(w.root, w.here.key(), w.machine)
	next := newChange()
	if current := w.store.rows.Settings; current == nil {
		next.found(defaultWorld, w.config.FilesOnly, now)
	} else if current.FilesOnly != w.config.FilesOnly {
		return fmt.Errorf("it was made %s, and is to be opened %s: reset it first", kindOf(current.FilesOnly), kindOf(w.config.FilesOnly))
	}
	if w.store.rows.settingsOf(key) == nil && next.settingsOf(key) == nil {
		next.found(w.here, w.config.FilesOnly, now)
	}
	if w.machine != "" && w.store.rows.factsOf(key, w.machine) == nil {
		next.foundMachine(w.here, w.machine, now)
	}
	current := cmp.Or(next.factsOf(key, w.machine), w.store.rows.factsOf(key, w.machine))
	facts := *current
	if w.config.UserData != "" {
		facts.UserData = w.config.UserData
	}
	// A real reboot of the host is a reboot of the instance.
	if host := hostBootID(); facts.HostBootID != host || !exists(filepath.Join(dir, "boot_id")) {
		facts.HostBootID = host
		if err := renewBootID(dir); err != nil {
			return err
		}
	}
	if *current != facts {
		next.setFacts(key, w.machine, &facts)
	}
	if next.empty() {
		return nil
	}
	return w.store.commit(&next)
}

func kindOf(filesOnly bool) string {
	if filesOnly {
		return "without devices, files only"
	}
	return "with loop devices"
}

// rootVolume is the volume an instance boots from. It is a record with a file
// and no device: nothing may ever detach or format it.
func rootVolume(instance *Instance, size int, now time.Time) *Volume {
	return &Volume{
		ID: newID("vol"), Zone: instance.Zone, Type: "gp3", Size: size, IOPS: 3000, Throughput: 125, Created: now,
		Attachment: &Attachment{
			InstanceID: instance.ID, Device: instance.RootDevice, DeleteOnTermination: true,
			AttachTime: now, AttachedAt: now, Bare: true,
		},
	}
}

// newID returns an id of today's length: 17 hexadecimal digits.
func newID(prefix string) string {
	random := make([]byte, 8)
	rand.Read(random) // never fails (crypto/rand)
	return prefix + "-0" + hex.EncodeToString(random)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
