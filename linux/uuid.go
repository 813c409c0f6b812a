package linux

import (
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

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
