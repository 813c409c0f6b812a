package linux

import (
	"bytes"
	"crypto/sha256"
	"fmt"
)

// UUIDFromToken derives a file system UUID from an idempotency token: the same token always gives the same UUID, so a
// file system that a crashed run made half is recognised as its own. It is an RFC 9562 version 8 UUID over SHA-256.
func UUIDFromToken(token string) string {
	u := sha256.Sum256([]byte("snaptastic file system\x00" + token))
	u[6] = u[6]&0x0f | 0x80
	u[8] = u[8]&0x3f | 0x80
	return formatUUID(u[:16])
}

// formatUUID writes 16 bytes the usual way; all zeros are no UUID.
func formatUUID(b []byte) string {
	if allZero(b) {
		return ""
	}
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// allZero compares in blocks: a probe reads two MiB, which byte by byte takes longer than reading them.
func allZero(b []byte) bool {
	for len(b) > len(zeros) {
		if !bytes.Equal(b[:len(zeros)], zeros[:]) {
			return false
		}
		b = b[len(zeros):]
	}
	return bytes.Equal(b, zeros[:len(b)])
}

var zeros [4096]byte
