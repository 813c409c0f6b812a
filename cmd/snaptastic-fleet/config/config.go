// Package config reads fleet.hcl: the server, what this host's worker may do,
// and the clusters.
package config

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/hashicorp/hcl/v2/hclparse"
)

// Default is where fleet.hcl is looked for.
const Default = "/etc/snaptastic/fleet.hcl"

// File is fleet.hcl.
type File struct {
	Server   Server    `hcl:"server,block"`
	Worker   *Worker   `hcl:"worker,block"`
	Control  *Control  `hcl:"control,block"`
	Clusters []Cluster `hcl:"cluster,block"`
}

// Server says where Temporal is, and how payloads are protected.
type Server struct {
	Address   string `hcl:"address"`
	Namespace string `hcl:"namespace"`
	TLS       *TLS   `hcl:"tls,block"`
	// KeyFile holds 32 random bytes in base64. With it, everything that this program
	// stores at the server is encrypted with AES-256-GCM.
	KeyFile string `hcl:"key_file,optional"`
	// KeyCommand is a program with its arguments that prints such a key, instead of KeyFile. No shell.
	KeyCommand []string `hcl:"key_command,optional"`
	// ReadKeys are other keys that payloads may be encrypted with: while a key is replaced.
	ReadKeys []Key `hcl:"read_key,block"`
}

// Key says where a key is: in a file, or printed by a program.
type Key struct {
	File    string   `hcl:"file,optional"`
	Command []string `hcl:"command,optional"`
}

// Keys are the key that payloads are encrypted with, and then those that they are only read with. None: no payload is encrypted.
func (s Server) Keys() []Key {
	if s.KeyFile == "" && len(s.KeyCommand) == 0 {
		return nil
	}
	return append([]Key{{File: s.KeyFile, Command: s.KeyCommand}}, s.ReadKeys...)
}

func (s Server) checkKeys() error {
	if s.KeyFile != "" && s.KeyCommand != nil {
		return errors.New("server: key_file and key_command are both there, and one of them is the key")
	}
	if s.KeyCommand != nil && (len(s.KeyCommand) == 0 || !filepath.IsAbs(s.KeyCommand[0])) {
		return errors.New("server: key_command needs a program with an absolute path")
	}
	if len(s.ReadKeys) > 0 && len(s.Keys()) == 0 {
		return errors.New("server: there is a read_key and neither key_file nor key_command: nothing would be encrypted")
	}
	for _, k := range s.ReadKeys {
		if (k.File != "") == (k.Command != nil) || k.Command != nil && (len(k.Command) == 0 || !filepath.IsAbs(k.Command[0])) {
			return errors.New("server: a read_key has a file, or a command with an absolute path")
		}
	}
	return nil
}

// TLS is mutual: the server proves itself to us, and we prove ourselves to it.
type TLS struct {
	CA         string `hcl:"ca"`
	Cert       string `hcl:"cert"`
	Key        string `hcl:"key"`
	ServerName string `hcl:"server_name,optional"`
}

// Worker is what the server may ask of this host. Names only: commands, paths
// and settings are this host's own.
type Worker struct {
	Host    string   `hcl:"host,optional"`    // default: the host's name; ByInstanceID
	Program string   `hcl:"program,optional"` // default: snaptastic beside this program
	Args    []string `hcl:"args,optional"`    // global flags of snaptastic
	// Allow lists what may be run: "snapshot db", "restore db", "verify db".
	Allow []string `hcl:"allow"`
	// Probes are health checks by name, as programs with arguments. No shell.
	Probes []Probe `hcl:"probe,block"`
	// TrustClock lets a snapshot be taken at an instant although the kernel does not say that the clock is synchronized. For tests.
	TrustClock bool `hcl:"trust_clock,optional"`
}

// Probe is a health check of this host.
type Probe struct {
	Name    string   `hcl:"name,label"`
	Command []string `hcl:"command"`
	Timeout string   `hcl:"timeout,optional"` // default 1m
}

// Control is the side that calls no host's root: it labels, undoes and cleans in the account.
type Control struct {
	Program string   `hcl:"program,optional"`
	Args    []string `hcl:"args,optional"`
	// Pinned has every workflow end under the version of control that began it: the old control is stopped when nothing of it is under way.
	Pinned bool `hcl:"pinned,optional"`
}

// Cluster is a group of hosts that are snapshotted and restored together.
type Cluster struct {
	Name        string  `hcl:"name,label"`
	Snapshotter string  `hcl:"snapshotter"`
	Hosts       []Host  `hcl:"host,block"`
	Tagged      *Tagged `hcl:"hosts,block"`         // instead of host blocks
	Lead        string  `hcl:"lead,optional"`       // time between the order to freeze and the instant; default 10s
	Hold        string  `hcl:"hold,optional"`       // how long all stay frozen after the instant; default 2s
	AtOnce      int     `hcl:"at_once,optional"`    // hosts that are restored, verified or warmed at a time; default 1
	StopAfter   int     `hcl:"stop_after,optional"` // failures after which no further host is begun; default 1
	Probe       string  `hcl:"probe,optional"`      // a probe of the worker, after each restored host
	Drill       []Host  `hcl:"spare,block"`         // hosts on which drills run; default: the hosts themselves
}

// Host is one machine of a cluster. Hosts with the same shard replace one another over time.
type Host struct {
	Name  string `hcl:"name,label"`
	Shard string `hcl:"shard,optional"` // default: its name
}

// Tagged are hosts that are found by the tags of their instances when an operation begins.
type Tagged struct {
	Tags     map[string]string `hcl:"tags"`
	ShardTag string            `hcl:"shard_tag"`
	NameTag  string            `hcl:"name_tag,optional"` // default: their workers call themselves by the instance's id
	AtLeast  int               `hcl:"at_least,optional"` // fewer running instances are an error; default 1
}

// MaxHold is the longest max_hold that the settings of a host may have (docs/settings.md). No host could hold for longer.
const MaxHold = time.Minute

// ByInstanceID as a worker's host names it by its EC2 instance.
const ByInstanceID = "instance-id"

// Read reads the file and checks it. A file that others may write is refused:
// its programs are run as root.
func Read(name string) (*File, error) {
	if err := trusted(name); err != nil {
		return nil, err
	}
	parser := hclparse.NewParser()
	parsed, bad := parser.ParseHCLFile(name)
	var f File
	if !bad.HasErrors() {
		bad = append(bad, gohcl.DecodeBody(parsed.Body, nil, &f)...)
	}
	if bad.HasErrors() {
		return nil, diagnostics(parser, bad)
	}
	if err := f.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &f, nil
}

// diagnostics shows mistakes as HCL does: file, line, the source line, what was expected.
func diagnostics(parser *hclparse.Parser, bad hcl.Diagnostics) error {
	var text strings.Builder
	if err := hcl.NewDiagnosticTextWriter(&text, parser.Files(), 100, false).WriteDiagnostics(bad); err != nil {
		return bad
	}
	return errors.New(strings.TrimSpace(text.String()))
}

// IsName says whether a host, a shard or a snapshotter can be called so.
func IsName(s string) bool { return word.MatchString(s) }

var word = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

func (f *File) check() error {
	if f.Server.Address == "" || f.Server.Namespace == "" {
		return errors.New("server: address and namespace are needed")
	}
	if err := f.Server.checkKeys(); err != nil {
		return err
	}
	if w := f.Worker; w != nil {
		for _, a := range w.Allow {
			if op, name, ok := strings.Cut(a, " "); !ok || !word.MatchString(op) || !word.MatchString(name) {
				return fmt.Errorf(`worker: allow %q is not an operation and a snapshotter, such as "snapshot db"`, a)
			}
		}
		for _, p := range w.Probes {
			if len(p.Command) == 0 || !filepath.IsAbs(p.Command[0]) {
				return fmt.Errorf("worker: probe %q needs a command with an absolute path", p.Name)
			}
			if _, err := duration(p.Timeout, time.Minute); err != nil {
				return fmt.Errorf("worker: probe %q: %w", p.Name, err)
			}
		}
	}
	seen := map[string]bool{}
	for i := range f.Clusters {
		c := &f.Clusters[i]
		if seen[c.Name] {
			return fmt.Errorf("cluster %q is there twice", c.Name)
		}
		seen[c.Name] = true
		if err := c.check(); err != nil {
			return fmt.Errorf("cluster %q: %w", c.Name, err)
		}
	}
	return nil
}

func (c *Cluster) check() error {
	if !word.MatchString(c.Name) || !word.MatchString(c.Snapshotter) {
		return errors.New("its name and its snapshotter have letters, digits, dots, dashes and underscores only")
	}
	if err := c.checkTagged(); err != nil {
		return err
	}
	if err := cmp.Or(checkHosts("host", c.Hosts), checkHosts("spare", c.Drill)); err != nil {
		return err
	}
	for _, d := range []struct{ name, value string }{{"lead", c.Lead}, {"hold", c.Hold}} {
		if _, err := duration(d.value, time.Second); err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
	}
	if c.LeadTime() < 2*time.Second || c.LeadTime() > 10*time.Minute {
		return errors.New("lead: from 2s to 10m")
	}
	if c.HoldTime() > MaxHold {
		return fmt.Errorf("hold: at most %gs, and no longer than max_hold of the hosts' settings, which is 10s unless they say otherwise", MaxHold.Seconds())
	}
	if c.AtOnce < 0 || c.StopAfter < 0 {
		return errors.New("at_once and stop_after are not negative")
	}
	return nil
}

// checkHosts checks the blocks of a kind, and fills in shards that are not named.
func checkHosts(kind string, hosts []Host) error {
	names, shards := map[string]bool{}, map[string]bool{}
	for i := range hosts {
		h := &hosts[i]
		if h.Shard == "" {
			h.Shard = h.Name
		}
		if !word.MatchString(h.Name) || !word.MatchString(h.Shard) {
			return fmt.Errorf("%s %q: names and shards have letters, digits, dots, dashes and underscores only", kind, h.Name)
		}
		if names[h.Name] || shards[h.Shard] {
			return fmt.Errorf("%s %q or its shard %q is there twice", kind, h.Name, h.Shard)
		}
		names[h.Name], shards[h.Shard] = true, true
	}
	return nil
}

func (c *Cluster) checkTagged() error {
	t := c.Tagged
	switch {
	case t == nil && len(c.Hosts) == 0:
		return errors.New(`it has no host: add host blocks, or hosts { tags = { … } shard_tag = "…" }`)
	case t == nil:
		return nil
	case len(c.Hosts) > 0:
		return errors.New("it has host blocks and a hosts block: its hosts are listed or found by tags, not both")
	case len(t.Tags) == 0:
		return errors.New("hosts: tags is empty, and would be all instances of the account")
	case t.ShardTag == "":
		return errors.New("hosts: shard_tag is empty")
	case t.AtLeast < 0:
		return errors.New("hosts: at_least is negative")
	}
	return nil
}

// LeadTime is the time between the order to freeze and the instant.
func (c *Cluster) LeadTime() time.Duration { d, _ := duration(c.Lead, 10*time.Second); return d }

// HoldTime is how long all hosts stay frozen after the instant.
func (c *Cluster) HoldTime() time.Duration { d, _ := duration(c.Hold, 2*time.Second); return d }

// Limit is how long the probe may take.
func (p *Probe) Limit() time.Duration { d, _ := duration(p.Timeout, time.Minute); return d }

func duration(s string, otherwise time.Duration) (time.Duration, error) {
	if s == "" {
		return otherwise, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf(`%q is not a duration such as "10s"`, s)
	}
	return d, nil
}

// NoCluster says what to do about a file that declares none.
const NoCluster = "fleet.hcl declares no cluster here. Use the machine whose fleet.hcl has the cluster blocks, or name that file with --config"

// Cluster returns the cluster of that name.
func (f *File) Cluster(name string) (*Cluster, error) {
	if len(f.Clusters) == 0 {
		return nil, errors.New(NoCluster)
	}
	known := make([]string, 0, len(f.Clusters))
	for i := range f.Clusters {
		if f.Clusters[i].Name == name {
			return &f.Clusters[i], nil
		}
		known = append(known, f.Clusters[i].Name)
	}
	return nil, fmt.Errorf("there is no cluster %q; declared are: %s", name, strings.Join(known, ", "))
}

// trusted refuses a file, or a folder above it, that others than root and its reader may write; where one is a symbolic link, also what it leads to.
func trusted(name string) error {
	p, err := filepath.Abs(name)
	if err == nil {
		_, err = filepath.EvalSymlinks(p) // it is there, and no link leads to itself
	}
	if err != nil {
		return fmt.Errorf("cannot read the fleet's settings: %w. Write %s (docs/fleet.md shows one), or name another file with --config", err, Default)
	}
	return trustedPath(p, true)
}

// trustedPath checks a path and all folders above it, along every link. A folder such as /tmp, where nobody can replace what is another's, may be above.
func trustedPath(p string, isFile bool) error {
	for ; ; p, isFile = filepath.Dir(p), false {
		info, err := os.Lstat(p)
		if err != nil {
			return err
		}
		link := info.Mode()&os.ModeSymlink != 0
		st := info.Sys().(*syscall.Stat_t)
		sticky := info.IsDir() && info.Mode()&os.ModeSticky != 0 && !isFile
		if int(st.Uid) != 0 && int(st.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 && !sticky && !link {
			return fmt.Errorf("%s may be written by others than its owner, and what it names is run: chown root %s && chmod go-w %s", p, p, p)
		}
		if link {
			to, err := os.Readlink(p)
			if err != nil {
				return err
			}
			if !filepath.IsAbs(to) {
				to = filepath.Join(filepath.Dir(p), to)
			}
			if err := trustedPath(to, isFile); err != nil {
				return err
			}
		}
		if p == "/" {
			return nil
		}
	}
}
