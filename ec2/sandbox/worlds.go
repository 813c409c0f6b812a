package sandbox

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// World is what one account has in one region: instances, volumes, snapshots, images, and one instance that this machine
// stands for. All worlds of a sandbox share its folder, its lock and the files of its disks; nothing of one is seen from
// another one, but for snapshots that are shared with an account.
//
// A request is for the world of its signature: the region in the credential scope, and the account of the access key id
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html). A key id in which
// twelve digits stand together, such as SANDBOX222222222222, belongs to the account with this number; every other one to
// the account [Account]. The metadata service has no signatures: a server answers it for the world it was opened for.
type World struct{ Account, Region string }

var defaultWorld = World{Account, Region}

// key is how records name the world; "" is the default one, whose records had no name when there was no other.
func (w World) key() string {
	if w == defaultWorld {
		return ""
	}
	return w.Account + "/" + w.Region
}

func worldOf(key string) World {
	account, region, ok := strings.Cut(key, "/")
	if !ok {
		return defaultWorld
	}
	return World{account, region}
}

// String names the account and the region.
func (w World) String() string { return w.Account + "/" + w.Region }

// defaultKey is the account's KMS key for EBS in the region, where no other one is named.
func (w World) defaultKey() string {
	return "arn:aws:kms:" + w.Region + ":" + w.Account + ":key/aws-ebs"
}

// zone is the world's first availability zone.
func (w World) zone() string { return w.Region + "a" }

// AccessKey is an access key id of the account.
func (w World) AccessKey() string {
	if w.Account == Account {
		return accessKey
	}
	return "SANDBOX" + w.Account
}

var (
	accountID      = regexp.MustCompile(`^\d{12}$`)
	accountInKey   = regexp.MustCompile(`(?:^|\D)(\d{12})(?:\D|$)`)
	signatureScope = regexp.MustCompile(`Credential=([^/,\s]+)/\d{8}/([^/,\s]+)/`)
)

// worldFor is the world that a request is signed for, by its Authorization header or, of a presigned URL, its
// X-Amz-Credential in the same form. What names no scope is for the sandbox's own world.
func (w *Sandbox) worldFor(authorization string) (World, error) {
	scope := signatureScope.FindStringSubmatch(authorization)
	if scope == nil {
		return w.here, nil
	}
	in := World{Account, scope[2]}
	if account := accountInKey.FindStringSubmatch(scope[1]); account != nil {
		in.Account = account[1]
	}
	if regions[in.Region] == "" {
		return in, refuse("AuthFailure", "Credential should be scoped to a valid region, not '%s'.", in.Region)
	}
	return in, nil
}

// WorldDir is the folder of a world of the sandbox in dir: dir itself for the default world, DIR/worlds/ACCOUNT/REGION
// for another one. It holds what the world's instance sees (dev, sys, boot_id) and may hold its own faults.json. It stands
// for the world wherever the folder of a sandbox is asked for: in Config, in RootsOf, SetFaults, Restrict, Reboot and Log,
// and in the option --sandbox of the command. Reset and Lose are about the whole sandbox.
func WorldDir(dir string, w World) string {
	if w == defaultWorld {
		return dir
	}
	return filepath.Join(dir, "worlds", w.Account, w.Region)
}

// SplitDir is the opposite of WorldDir: the folder of the whole sandbox, and the world. That of a machine's folder, too.
func SplitDir(dir string) (string, World) {
	root, in, _ := splitMachine(dir)
	return root, in
}

// splitWorld reads DIR/worlds/ACCOUNT/REGION.
func splitWorld(dir string) (root string, in World, ok bool) {
	clean := filepath.Clean(dir)
	accountDir, region := filepath.Split(clean)
	worldsDir, account := filepath.Split(filepath.Clean(accountDir))
	root, folder := filepath.Split(filepath.Clean(worldsDir))
	if folder != "worlds" || !accountID.MatchString(account) || regions[region] == "" {
		return "", World{}, false
	}
	return filepath.Clean(cmp.Or(root, ".")), World{account, region}, true
}

// settingsOf returns the stored facts of a world, or nil for one that nobody has used yet.
func (c *change) settingsOf(key string) *settings {
	if key == "" {
		return c.Settings
	}
	return c.Worlds[key]
}

func (c *change) setSettings(key string, facts *settings) {
	if key == "" {
		c.Settings = facts
	} else {
		c.Worlds[key] = facts
	}
}

// worldKeys lists the worlds that were used, the default one first.
func (c *change) worldKeys() []string { return append([]string{""}, sortedKeys(c.Worlds)...) }

// found adds what a world has from the beginning: an instance with its root volume and the image it was made of.
func (c *change) found(in World, filesOnly bool, now time.Time) {
	instance := &Instance{
		ID: newID("i"), Type: "m5.large", Zone: in.zone(), ImageID: newID("ami"), RootDevice: "/dev/xvda",
		Launched: now, PrivateIP: "10.0.0.10", Tags: Tags{"Name": {Value: "sandbox"}},
	}
	put(in.key(), c.Images, &Image{
		ID: instance.ImageID, OwnerID: amazonAccount, Name: "sandbox-base", Created: now, RootDevice: instance.RootDevice,
	})
	put(in.key(), c.Instances, instance)
	put(in.key(), c.Volumes, rootVolume(instance, 8, now))
	c.setSettings(in.key(), &settings{InstanceID: instance.ID, FilesOnly: filesOnly})
}

// put adds a new row to the world of the key.
func put[T any, P row[T]](key string, rows map[string]*T, r *T) {
	_, id := P(r).key()
	P(r).history().In = key
	rows[id] = r
}

// rootsOf returns the roots of a world's instance.
func (w *Sandbox) rootsOf(key string) Roots { return RootsOf(WorldDir(w.root, worldOf(key))) }

// behaviour is how a world behaves: its own faults.json over the configuration of this process.
func (w *Sandbox) behaviour(key string) *behaviour { return &w.faultsOf(key).current }

// faultsOf returns the fault file of a world. It needs the mutex. One that cannot be read is reported by matchFaults.
func (w *Sandbox) faultsOf(key string) *faultFile {
	f := w.faults[key]
	if f == nil {
		f = &faultFile{path: filepath.Join(WorldDir(w.root, worldOf(key)), "faults.json")}
		f.current, _ = f.read(w.config)
		w.faults[key] = f
	}
	return f
}

func lostMark(root, region string) string { return filepath.Join(root, "lost", region) }

// refuseLost is what a region that was lost answers.
func (w *Sandbox) refuseLost(in World) error {
	if !exists(lostMark(w.root, in.Region)) {
		return nil
	}
	return refuse("ServiceUnavailable", "The region %s is lost.", in.Region)
}

// Lose makes a region of the sandbox in dir a disaster: everything that any account has in it is gone, its devices and
// mounts on this machine too, copies that are being made of its snapshots fail, and every request to it is answered with
// ServiceUnavailable. Removing DIR/lost/REGION gives an empty region back.
func Lose(dir, region string) error {
	if regions[region] == "" {
		return fmt.Errorf("cannot lose the region %q: the sandbox knows %s", region, strings.Join(sortedKeys(regions), ", "))
	}
	root, _ := SplitDir(dir)
	root, unlock, err := lockSandbox(root)
	if err == nil {
		err = lose(root, region)
		unlock()
	}
	if err != nil {
		return fmt.Errorf("cannot lose the region %s of the sandbox in %s: %w", region, root, err)
	}
	return nil
}

func lose(root, region string) error {
	records := store{path: filepath.Join(root, "world.jsonl")}
	if _, err := records.catchUp(); err != nil {
		return err
	}
	defer records.close()
	if records.rows.Settings == nil {
		return errReset
	}
	if err := os.MkdirAll(filepath.Dir(lostMark(root, region)), 0o700); err != nil {
		return err
	}
	if err := writeFile(lostMark(root, region), ""); err != nil {
		return err
	}
	isLost := func(id string) bool {
		v := records.rows.Volumes[id]
		return v != nil && worldOf(v.In).Region == region
	}
	if err := unmountSandbox(root, isLost); err != nil {
		return err
	}
	devices, err := sandboxDevices(root, isLost)
	for _, device := range devices {
		err = errors.Join(err, detachAndWait(device))
	}
	if err != nil {
		return err
	}
	return loseRecords(&records, root, region)
}

// loseRecords removes the rows of a region's worlds, and then their files.
func loseRecords(records *store, root, region string) error {
	next, now := newChange(), time.Now()
	lost := func(key string) bool { return worldOf(key).Region == region }
	files := append(dropIn(next.Volumes, records.rows.Volumes, lost), dropIn(next.Snapshots, records.rows.Snapshots, lost)...)
	dropIn(next.Instances, records.rows.Instances, lost)
	dropIn(next.Images, records.rows.Images, lost)
	for id, c := range records.rows.Snapshots {
		if !lost(c.In) && c.Source != nil && c.Source.Region == region && c.status(now) == "pending" {
			failed := c.clone()
			failed.fail(now, "The region of the source snapshot is not available.")
			next.Snapshots[id] = failed
		}
	}
	var dirs []string
	for _, key := range records.rows.worldKeys() {
		if lost(key) {
			next.found(worldOf(key), records.rows.Settings.FilesOnly, now)
			dirs = append(dirs, WorldDir(root, worldOf(key)))
		}
	}
	for key := range records.rows.Machines {
		if in, name := splitMachineKey(key); in.Region == region {
			next.Machines[key] = nil
			dirs = append(dirs, MachineDir(root, in, name))
		}
	}
	if err := records.commit(&next); err != nil {
		return err
	}
	var failed []error
	for _, id := range files {
		if err := os.Remove(filepath.Join(root, "vol", id)); err != nil && !errors.Is(err, os.ErrNotExist) {
			failed = append(failed, err)
		}
	}
	for _, dir := range dirs {
		roots := RootsOf(dir)
		failed = append(failed, os.RemoveAll(roots.Dev), os.RemoveAll(roots.Sys), makeRoots(roots))
	}
	return errors.Join(failed...)
}

// dropIn deletes the rows of some worlds and returns their ids.
func dropIn[T any, P row[T]](next, rows map[string]*T, lost func(key string) bool) []string {
	var ids []string
	for id, r := range rows {
		if lost(P(r).history().In) {
			next[id] = nil
			ids = append(ids, id)
		}
	}
	return ids
}
