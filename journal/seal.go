package journal

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"path/filepath"
	"strings"

	bolt "go.etcd.io/bbolt"

	"snaptastic/plan"
)

// An event ends with the transaction that wrote it and a checksum, eight bytes
// each. The checksum also covers the run, the event's number and the schema, so
// that an event copied from elsewhere is detected. It detects
// accidents, not attacks: who can write the file can write a checksum.
//
// Events alone are sealed. The records of steps and the run's meta are written
// with them and must equal the newest one of their own; an older value that
// reappears is detected that way, and so is a lost one.
const sealSize = 16

// seal appends to the event, for which encode leaves room.
func seal(event []byte, run plan.RunID, seq, txid uint64) []byte {
	out := binary.BigEndian.AppendUint64(event, txid)
	sum := checksum(out, run, seq)
	return append(out, sum[:sealSize-8]...)
}

func checksum(event []byte, run plan.RunID, seq uint64) [sha256.Size]byte {
	var room [1024]byte
	b := append(append(room[:0], "snaptastic journal 2\x00"...), run...)
	b = binary.BigEndian.AppendUint64(append(b, 0), seq)
	return sha256.Sum256(append(b, event...))
}

// unseal returns the event without its seal, and the transaction that wrote it.
func unseal(v []byte, run plan.RunID, seq uint64) (event []byte, txid uint64, ok bool) {
	if len(v) < sealSize {
		return nil, 0, false
	}
	sealed, sum := v[:len(v)-sealSize+8], v[len(v)-sealSize+8:]
	want := checksum(sealed, run, seq)
	if !bytes.Equal(sum, want[:len(sum)]) {
		return nil, 0, false
	}
	event = v[:len(v)-sealSize]
	return event, binary.BigEndian.Uint64(sealed[len(event):]), true
}

// checkSeals holds everything in the file against its events.
func checkSeals(tx *bolt.Tx, run plan.RunID) error {
	events := tx.Bucket(bucketEvents)
	newest := map[string][]byte{} // of each step; the run's own meta is under ""
	var n, txid uint64
	err := events.ForEach(func(k, v []byte) error {
		n++
		if len(k) != 8 || binary.BigEndian.Uint64(k) != n {
			return damagef("event %d is missing", n)
		}
		event, at, ok := unseal(v, run, n)
		if !ok {
			return damagef("event %d has a bad checksum", n)
		}
		step, body, ok := split(event)
		if !ok {
			return damagef("event %d is invalid", n)
		}
		newest[step], txid = body, at
		return nil
	})
	if err != nil {
		return err
	}
	if last := events.Sequence(); n != last {
		return damagef("it has %d events of %d", n, last)
	}
	if now := uint64(tx.ID()); txid != now {
		return damagef("its newest event is of transaction %d of %d", txid, now)
	}
	if !bytes.Equal(newest[""], tx.Bucket(bucketMeta).Get(keyMeta)) {
		return damagef("the run record does not match the newest event")
	}
	delete(newest, "")
	return checkSteps(tx, newest)
}

// checkSteps: the record of each step is that of its newest event.
func checkSteps(tx *bolt.Tx, newest map[string][]byte) error {
	err := tx.Bucket(bucketSteps).ForEach(func(k, v []byte) error {
		if body, ok := newest[string(k)]; !ok || !bytes.Equal(body, v) {
			return damagef("the record of step %s does not match its newest event", k)
		}
		delete(newest, string(k))
		return nil
	})
	if err != nil {
		return err
	}
	for step := range newest {
		return damagef("the record of step %s is missing", step)
	}
	return nil
}

// split takes an event apart without decoding its record: the step, "" for the
// run itself, and the bytes that the file holds for it.
func split(event []byte) (step string, body []byte, ok bool) {
	event, ok = bytes.CutSuffix(event, []byte("}"))
	if !ok {
		return "", nil, false
	}
	if body, ok = bytes.CutPrefix(event, []byte(`{"meta":`)); ok {
		return "", body, true
	}
	// A quote inside the step's name is escaped, so the first match is the end of it.
	head, body, ok := bytes.Cut(event, []byte(`,"record":`))
	name, is := bytes.CutPrefix(head, []byte(`{"step":`))
	if !ok || !is {
		return "", nil, false
	}
	if plain := len(name) > 2 && !bytes.ContainsRune(name, '\\'); plain {
		return string(name[1 : len(name)-1]), body, true
	}
	if err := json.Unmarshal(name, &step); err != nil || step == "" {
		return "", nil, false
	}
	return step, body, true
}

// runOf is the run whose journal the path names.
func runOf(path string) plan.RunID {
	return plan.RunID(strings.TrimSuffix(filepath.Base(path), ".db"))
}
