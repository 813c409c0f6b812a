package guard

import (
	"encoding/binary"
	"syscall"
	"time"
)

// kind is the first byte of a message. Parent and guard use a SOCK_SEQPACKET pair: a message is one packet, and the
// death of either end reads as end of file at the other.
type kind byte

const (
	doFreeze  kind = 'F' // parent: freeze all
	doThaw    kind = 'T' // parent: thaw all
	doRelease kind = 'R' // parent: thaw what is left and leave

	isReady   kind = 'r' // guard: ready; the text holds warnings, or what makes it useless when errno is set
	isFrozen  kind = 'f' // guard: mount index is frozen
	isRefused kind = 'e' // guard: FIFREEZE of mount index failed with errno
	isThawed  kind = 't' // guard: mount index is thawed; errno EINVAL: it was not frozen any more; the text is how many sectors were written meanwhile
	isStuck   kind = 's' // guard: FITHAW of mount index failed with errno; it goes on trying
	isEnding  kind = 'x' // guard: it thaws from now on, for cause
)

// endCause is why the guard stopped freezing and thaws.
type endCause byte

const (
	causeNone       endCause = iota
	causeAsked               // the parent asked for it
	causeRefused             // a freeze failed
	causeExpired             // MaxHold passed
	causeParentGone          // the pipe ended
)

// message is one packet. issued and returned are CLOCK_MONOTONIC nanoseconds around the ioctl.
type message struct {
	kind     kind
	cause    endCause
	index    int
	errno    syscall.Errno
	issued   int64
	returned int64
	text     string
}

const headerSize = 24

func (m message) encode() []byte {
	b := make([]byte, headerSize, headerSize+len(m.text))
	b[0], b[1] = byte(m.kind), byte(m.cause)
	binary.BigEndian.PutUint16(b[2:], uint16(m.index))
	binary.BigEndian.PutUint32(b[4:], uint32(m.errno))
	binary.BigEndian.PutUint64(b[8:], uint64(m.issued))
	binary.BigEndian.PutUint64(b[16:], uint64(m.returned))
	return append(b, m.text...)
}

// decode reads one packet; ok is false when it is too short to be one of ours.
func decode(b []byte) (m message, ok bool) {
	if len(b) < headerSize {
		return message{}, false
	}
	return message{
		kind:     kind(b[0]),
		cause:    endCause(b[1]),
		index:    int(binary.BigEndian.Uint16(b[2:])),
		errno:    syscall.Errno(binary.BigEndian.Uint32(b[4:])),
		issued:   int64(binary.BigEndian.Uint64(b[8:])),
		returned: int64(binary.BigEndian.Uint64(b[16:])),
		text:     string(b[headerSize:]),
	}, true
}

// config is the first packet the guard reads, as JSON. The descriptors come in the order socket, mounts, owned file,
// expedite claim, from descriptor 3 on.
type config struct {
	Paths    []string
	Counters []string // of each path: the kernel's count of what is written to its device; "" without one
	MaxHold  time.Duration
	NotAfter int64     // CLOCK_REALTIME in nanoseconds, after which it does not freeze; 0: whenever
	Owned    string    // path of the owned file; "" without one
	Expedite *expedite // nil: leave rcu_expedited alone
}

const (
	maxPacket = 64 << 10
	maxMounts = 256 // twice what an instance can attach
)
