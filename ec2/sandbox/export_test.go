package sandbox

// What the tests of the outside need of the loop devices.
var (
	LoopAttach = loopAttach
	LoopDetach = loopDetach
	LoopList   = loopList
)

type LoopOptions = loopOptions
