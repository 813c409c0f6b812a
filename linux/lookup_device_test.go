package linux

import "testing"

// TestLookupDevice finds what FindDevice finds, without opening it.
func TestLookupDevice(t *testing.T) {
	a, b := newDisk(t, mib), newDisk(t, mib)
	for _, c := range []struct {
		name  string
		world func(tree)
		query DeviceQuery
		want  string // path, "" is not found
		id    string
	}{
		{"nitro by serial", func(w tree) { w.nvme("nvme0n1", "vol0fff", a).nvme("nvme1n1", "vol0abc", b) }, DeviceQuery{VolumeID: "vol-0abc", Name: "/dev/sdf"}, b.path, "vol-0abc"},
		{"nitro goes by no name", func(w tree) { w.nvme("nvme0n1", "vol0fff", a).node("xvdf", b.path) }, DeviceQuery{VolumeID: "vol-0abc", Name: "/dev/sdf"}, "", ""},
		{"xen by name", func(w tree) { w.node("xvdf", b.path) }, DeviceQuery{VolumeID: "vol-0abc", Name: "/dev/sdf"}, b.path, ""},
		{"xen by a shifted name", func(w tree) { w.node("xvdj", b.path) }, DeviceQuery{VolumeID: "vol-0abc", Name: "/dev/sdf", NameOffset: 4}, b.path, ""},
		{"a serial without a node", func(w tree) { w.serial("nvme1n1", "vol0abc") }, DeviceQuery{VolumeID: "vol-0abc", Name: "/dev/sdf"}, "", ""},
		{"nothing", func(tree) {}, DeviceQuery{VolumeID: "vol-0abc", Name: "/dev/sdf"}, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newTree(t)
			c.world(w)
			d, found, err := w.host.LookupDevice(c.query)
			if err != nil || found != (c.want != "") || d.Path != c.want || d.VolumeID != c.id {
				t.Errorf("%+v, %v, %v; want %q of %q", d, found, err, c.want, c.id)
			}
			if found && (d.Major == 0 || d.Size != 0) {
				t.Errorf("%+v: want its number, and no size", d)
			}
		})
	}
}
