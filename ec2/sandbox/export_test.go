package sandbox

import "path/filepath"

// What the tests of the outside need of the loop devices.
var (
	LoopAttach = loopAttach
	// LoopDetach detaches whatever file the device has.
	LoopDetach = func(path string) error {
		d, err := loopRead(filepath.Join("/sys/block", filepath.Base(path), "loop/backing_file"))
		if err != nil {
			return err
		}
		return loopDetach(d)
	}
	LoopList = loopList
)

type LoopOptions = loopOptions
