package journal

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"
)

func TestCallsAreWrittenAlongWithEntries(t *testing.T) {
	s := testStore(t)
	r := begin(t, s, "run", testPlan(t, "a"))
	at := time.Date(2026, 1, 2, 3, 4, 5, 678000000, time.UTC)
	call := func(action, code string) Call { return Call{At: at, Seconds: 0.25, Action: action, Code: code} }
	r.AddCall(call("DescribeVolumes", ""))
	r.AddCall(call("CreateVolume", "RequestLimitExceeded"))
	before := transactions(t, r.Journal)
	if err := r.Write(Entry{Step: "a:a", Record: &Record{State: Done}}); err != nil {
		t.Fatal(err)
	}
	if got := transactions(t, r.Journal) - before; got != 1 {
		t.Errorf("two calls and an entry took %d transactions", got)
	}
	r.AddCall(call("AttachVolume", ""))
	end(t, r, RunDone)
	j, err := s.Read("run")
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	got, err := j.Calls()
	want := Calls{Calls: []Call{call("DescribeVolumes", ""), call("CreateVolume", "RequestLimitExceeded"), call("AttachVolume", "")}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
}

// A process that polls for days does not fill the disk.
func TestCallsAreBounded(t *testing.T) {
	s := testStore(t)
	r := begin(t, s, "run", testPlan(t, "a"))
	for range maxCalls + 7 {
		r.AddCall(Call{At: time.Unix(1, 0).UTC(), Action: "DescribeSnapshots"})
	}
	end(t, r, RunDone)
	j, err := s.Read("run")
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if got, err := j.Calls(); err != nil || len(got.Calls) != maxCalls || got.Dropped != 7 {
		t.Errorf("%d calls, %d dropped, %v", len(got.Calls), got.Dropped, err)
	}
}

// Damage in what only a report needs keeps nobody from going on with the run.
func TestDamagedCallsAreSaidSo(t *testing.T) {
	s := testStore(t)
	r := begin(t, s, "run", testPlan(t, "a"))
	r.AddCall(Call{Action: "DescribeVolumes"})
	if err := r.Write(Entry{Step: "a:a", Record: &Record{State: Done}}); err != nil {
		t.Fatal(err)
	}
	err := r.db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketCalls)
		k, v := b.Cursor().First()
		bad := append([]byte{}, v...)
		bad[3] ^= 1
		if err := b.Put(k, bad); err != nil {
			return err
		}
		return write(tx, "run", Schema, mustEncode(t, Entry{Step: "b:a", Record: &Record{State: Done}})) // as every transaction does
	})
	if err != nil {
		t.Fatal(err)
	}
	end(t, r, RunDone)
	j, err := s.Read("run")
	if err != nil {
		t.Fatal("the journal cannot be read: ", err)
	}
	defer j.Close()
	if _, err := j.Calls(); err == nil {
		t.Error("a call that was changed is read as if nothing had happened")
	}
}

func mustEncode(t *testing.T, e Entry) []encoded {
	t.Helper()
	out, err := encode([]Entry{e})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
