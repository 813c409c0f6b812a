package sandbox

import (
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// A machine is an instance of a world that a folder of this machine stands for, with devices, boot id and metadata of
// its own. Each world has one without a name, in the world's folder. More of them have names and are made when they are
// first opened: DIR/worlds/ACCOUNT/REGION/NAME, also in the default world. They share the world's volumes and snapshots,
// as the instances of an account do.

var machineName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// MachineDir is the folder of a named machine.
func MachineDir(dir string, w World, name string) string {
	return filepath.Join(dir, "worlds", w.Account, w.Region, name)
}

// splitMachine splits the folder of a sandbox, of a world or of a machine: the whole sandbox, the world, and the machine's
// name, which is empty for a world's own.
func splitMachine(dir string) (root string, in World, name string) {
	if root, in, ok := splitWorld(dir); ok {
		return root, in, ""
	}
	world, name := filepath.Split(filepath.Clean(dir))
	if root, in, ok := splitWorld(world); ok && machineName.MatchString(name) {
		return root, in, name
	}
	return dir, defaultWorld, ""
}

// misnamed refuses a folder inside of a sandbox that names no world and no machine: it would be a second sandbox there.
func misnamed(dir string) error {
	for at := filepath.Clean(dir); at != filepath.Dir(at); at = filepath.Dir(at) {
		if root := filepath.Dir(at); filepath.Base(at) == "worlds" && exists(filepath.Join(root, "world.jsonl")) {
			return fmt.Errorf("%s is no instance of the sandbox in %s: expected %s/ACCOUNT/REGION, with 12 digits and a region such as %s, or a name in lower case below it", dir, root, at, Region)
		}
	}
	return nil
}

// machineDir is the folder of a machine of the world of the key.
func machineDir(root, world, name string) string {
	if name == "" {
		return WorldDir(root, worldOf(world))
	}
	return MachineDir(root, worldOf(world), name)
}

// machineKey is how records name a machine that has a name.
func machineKey(world, name string) string { return worldOf(world).String() + "/" + name }

func splitMachineKey(key string) (World, string) {
	world, name := path.Split(key)
	return worldOf(path.Clean(world)), name
}

// factsOf returns the stored facts of a machine, or nil for one that nobody has used yet.
func (c *change) factsOf(world, name string) *settings {
	if name == "" {
		return c.settingsOf(world)
	}
	return c.Machines[machineKey(world, name)]
}

func (c *change) setFacts(world, name string, facts *settings) {
	if name == "" {
		c.setSettings(world, facts)
	} else {
		c.Machines[machineKey(world, name)] = facts
	}
}

// foundMachine adds another machine to a world that is there.
func (c *change) foundMachine(in World, name string, now time.Time) {
	instance := &Instance{
		ID: newID("i"), Type: "m5.large", Zone: in.zone(), ImageID: newID("ami"), RootDevice: "/dev/xvda",
		Launched: now, PrivateIP: "10.0.0.11", Tags: Tags{"Name": {Value: name}},
	}
	put(in.key(), c.Instances, instance)
	put(in.key(), c.Volumes, rootVolume(instance, 8, now))
	c.setFacts(in.key(), name, &settings{InstanceID: instance.ID})
}

// machineDirs are the folders of all machines.
func (c *change) machineDirs(root string) []string {
	var dirs []string
	for _, key := range c.worldKeys() {
		dirs = append(dirs, WorldDir(root, worldOf(key)))
	}
	for _, key := range sortedKeys(c.Machines) {
		in, name := splitMachineKey(key)
		dirs = append(dirs, MachineDir(root, in, name))
	}
	return dirs
}

// machineOf is the name of the machine that an instance of this world is; false for one that is only a record.
func (t *tx) machineOf(instanceID string) (name string, is bool) {
	if facts := t.rows.settingsOf(t.in); facts != nil && facts.InstanceID == instanceID {
		return "", true
	}
	for key, facts := range t.rows.Machines {
		if facts.InstanceID == instanceID {
			name, is = strings.CutPrefix(key, worldOf(t.in).String()+"/")
			return name, is
		}
	}
	return "", false
}

// rootsAt are the roots of the machine that a volume is attached to.
func (w *Sandbox) rootsAt(v *Volume) Roots {
	return RootsOf(machineDir(w.root, v.In, v.Attachment.Machine))
}
