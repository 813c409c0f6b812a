package journal

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"snaptastic/plan"
)

// realJournals are what the program left after a mount, a snapshot, an unmount
// and a mount that was killed, as it wrote them when the schema was new.
func realJournals(t testing.TB, schema int) map[plan.RunID][]byte {
	t.Helper()
	paths, err := filepath.Glob(fmt.Sprintf("testdata/schema%d/*.db.gz", schema))
	if err != nil || len(paths) == 0 {
		t.Fatalf("journals of schema %d: %v, %v", schema, paths, err)
	}
	out := map[plan.RunID][]byte{}
	for _, p := range paths {
		f, err := os.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		out[plan.RunID(strings.TrimSuffix(filepath.Base(p), ".db.gz"))] = body
	}
	return out
}

// contents is all that a journal can make anybody do.
func contents(t testing.TB, j *Journal) string {
	t.Helper()
	var events []Entry
	if err := j.Events(func(_ uint64, e Entry) error { events = append(events, e); return nil }); err != nil {
		t.Fatal(err)
	}
	all, err := json.Marshal([]any{j.Meta(), j.Plan(), j.Records(), events})
	if err != nil {
		t.Fatal(err)
	}
	return string(all)
}

// opens says what the run's file holds; "" and why when it is refused.
func opens(t testing.TB, s *Store, run plan.RunID) (string, error) {
	t.Helper()
	j, err := s.Read(run)
	if err != nil {
		return "", err
	}
	all := contents(t, j)
	_ = j.Close()
	r, err := s.Resume(run)
	if err != nil {
		t.Errorf("it is read and cannot be resumed: %v", err)
		return all, nil
	}
	_ = r.Close()
	return all, nil
}

func writeRun(t testing.TB, s *Store, run plan.RunID, body []byte) {
	t.Helper()
	if err := os.WriteFile(s.path(run, ".db"), body, 0o600); err != nil {
		t.Fatal(err)
	}
	_ = os.Remove(s.path(run, ".json"))
}

// A journal of the program before records had checksums is read, resumed and
// written on, and stays what it is.
func TestAJournalWithoutChecksumsStaysUsable(t *testing.T) {
	s := testStore(t)
	for run, body := range realJournals(t, 1) {
		writeRun(t, s, run, body)
		r, err := s.Resume(run)
		if err != nil {
			t.Fatal(err)
		}
		step := r.Plan().Steps[0].ID
		if err := r.Write(Entry{Step: step, Record: rec(Done, 7)}); err != nil {
			t.Fatal(err)
		}
		end(t, r, Abandoned)
		j, err := s.Read(run)
		if err != nil {
			t.Fatal(err)
		}
		if j.schema != 1 || j.Records()[step].Generation != 7 || j.Meta().Outcome != Abandoned || !strings.Contains(contents(t, j), `"generation":7`) {
			t.Errorf("schema %d, record %+v", j.schema, j.Records()[step])
		}
		_ = j.Close()
	}
}

func TestAnOlderJournalIsReadAndContinued(t *testing.T) {
	s := testStore(t)
	for run, body := range realJournals(t, 2) {
		writeRun(t, s, run, body)
		for n := range 3 {
			r, err := s.Resume(run)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Write(Entry{Step: r.Plan().Steps[n].ID, Record: rec(Done, n)}, Entry{Step: r.Plan().Steps[0].ID, Record: rec(Done, n)}); err != nil {
				t.Fatal(err)
			}
			if err := r.Write(); err != nil { // nothing at all
				t.Fatal(err)
			}
			m := r.Meta()
			m.Error = fmt.Sprint("error ", n)
			if err := r.SetMeta(m); err != nil {
				t.Fatal(err)
			}
			_ = r.Close()
		}
		if _, err := opens(t, s, run); err != nil {
			t.Error(err)
		}
	}
}

// A value is where one lies: a bucket and a key.
type pageRef struct{ bucket, key []byte }

// values are all values of the journals, and the records inside of events.
func values(t testing.TB, paths []string) (at map[string][]pageRef, all [][]byte) {
	t.Helper()
	at = map[string][]pageRef{}
	for _, path := range paths {
		db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		err = db.View(func(tx *bolt.Tx) error {
			for _, bucket := range [][]byte{bucketMeta, bucketPlan, bucketSteps, bucketEvents} {
				_ = tx.Bucket(bucket).ForEach(func(k, v []byte) error {
					at[path] = append(at[path], pageRef{bucket, bytes.Clone(k)})
					all = append(all, bytes.Clone(v))
					if bytes.Equal(bucket, bucketEvents) {
						if _, body, ok := split(v[:len(v)-sealSize]); ok {
							all = append(all, bytes.Clone(body), bytes.Clone(v[:len(v)-sealSize]))
						}
					}
					return nil
				})
			}
			return nil
		})
		_ = db.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	return at, all
}

// Damage to a real journal is refused, or changes nothing of what it says: any
// bit, any value that a copy of another one replaces, any page that another
// one, or an older one, replaces. 10,000 times.
func TestADamagedJournalIsRefusedOrHarmless(t *testing.T) {
	t.Parallel()
	s := memoryStore(t)
	scratch := filepath.Join(s.Dir(), "scratch.db")
	rng := rand.New(rand.NewPCG(1, 2))
	good := map[plan.RunID]string{}
	bodies := realJournals(t, 2)
	runs := []plan.RunID{}
	var paths []string
	for run, body := range bodies {
		writeRun(t, s, run, body)
		all, err := opens(t, s, run)
		if err != nil {
			t.Fatal(err)
		}
		good[run] = all
		runs, paths = append(runs, run), append(paths, s.path(run, ".db"))
	}
	slices.Sort(runs)
	at, all := values(t, paths)
	kinds := []struct {
		name   string
		times  int
		damage func(run plan.RunID, b []byte) []byte
	}{
		{"a bit of a page in use", 5000, func(_ plan.RunID, b []byte) []byte {
			pages := used(t, b)
			page := pages[rng.IntN(len(pages))]
			b[page*4096+rng.IntN(4096)] ^= 1 << rng.IntN(8)
			return b
		}},
		{"a bit anywhere", 1000, func(_ plan.RunID, b []byte) []byte {
			b[rng.IntN(len(b))] ^= 1 << rng.IntN(8)
			return b
		}},
		{"a page over another", 1000, func(_ plan.RunID, b []byte) []byte {
			from, to := rng.IntN(len(b)/4096), rng.IntN(len(b)/4096)
			copy(b[to*4096:(to+1)*4096], bytes.Clone(b[from*4096:(from+1)*4096]))
			if rng.IntN(4) > 0 { // as if it belonged there
				le.PutUint64(b[to*4096:], uint64(to))
			}
			return b
		}},
		{"a value over another", 2500, func(run plan.RunID, b []byte) []byte {
			places := at[s.path(run, ".db")]
			return rewritten(t, scratch, run, b, places[rng.IntN(len(places))], all[rng.IntN(len(all))])
		}},
		{"a value gone", 500, func(run plan.RunID, b []byte) []byte {
			places := at[s.path(run, ".db")]
			return rewritten(t, scratch, run, b, places[rng.IntN(len(places))], nil)
		}},
	}
	for _, k := range kinds {
		if testing.Short() {
			k.times /= 10
		}
		refused := 0
		for range k.times {
			run := runs[rng.IntN(len(runs))]
			writeRun(t, s, run, k.damage(run, bytes.Clone(bodies[run])))
			said, err := opens(t, s, run)
			var d *DamagedError
			switch {
			case err == nil && said != good[run]:
				t.Fatalf("%s: run %s is acted on as\n%s\nand was\n%s", k.name, run, said, good[run])
			case err == nil:
			case errors.As(err, &d) && strings.HasPrefix(err.Error(), "journal damaged: "), strings.Contains(err.Error(), "newer version"):
				refused++
			default:
				t.Fatalf("%s: %v", k.name, err)
			}
		}
		t.Logf("%s: %d of %d refused, the others harmless", k.name, refused, k.times)
		if refused == 0 {
			t.Errorf("%s is never refused", k.name)
		}
	}
}

// used are the pages that the newest transaction reaches, and the head pages.
func used(t testing.TB, b []byte) []int {
	t.Helper()
	root, w, err := headOf(b)
	if err == nil {
		err = w.tree(root, nil, nil)
	}
	if err != nil || w.size != 4096 {
		t.Fatal(err, w.size)
	}
	pages := []int{0, 1}
	for p := range w.visited {
		pages = append(pages, int(p))
	}
	slices.Sort(pages)
	return pages
}

// rewritten puts the value there, or takes it away with nil, and makes the rest
// of the file as right as it can be: the newest event is sealed again for the
// transaction that this takes.
func rewritten(t testing.TB, path string, run plan.RunID, b []byte, where pageRef, v []byte) []byte {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(path, 0o600, options(false))
	if err != nil {
		t.Fatal(err)
	}
	db.NoSync = true
	err = db.Update(func(tx *bolt.Tx) error {
		events := tx.Bucket(bucketEvents)
		k, last := events.Cursor().Last()
		n := binary.BigEndian.Uint64(k)
		event, _, ok := unseal(last, run, n)
		if !ok {
			return errors.New("the newest event is not sealed")
		}
		if err := events.Put(bytes.Clone(k), seal(bytes.Clone(event), run, n, uint64(tx.ID()))); err != nil {
			return err
		}
		if v == nil {
			return tx.Bucket(where.bucket).Delete(where.key)
		}
		return tx.Bucket(where.bucket).Put(where.key, v)
	})
	if err == nil {
		err = db.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	b, err = os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// One sentence for the operator, with what to do and how to find what the run
// left.
func TestADamagedJournalHasAHint(t *testing.T) {
	d := &DamagedError{"/state/runs/20261128T013904716-c4ff.db", errors.New("why")}
	for _, want := range []string{"snaptastic resume", "damaged", "snaptastic:run = 20261128T013904716-c4ff"} {
		if !strings.Contains(d.Hint(), want) {
			t.Errorf("it does not say %q: %s", want, d.Hint())
		}
	}
	if want := "journal damaged: /state/runs/20261128T013904716-c4ff.db: why"; d.Error() != want {
		t.Errorf("got %s", d.Error())
	}
}

// A journal under another run's name would act with that run's tokens.
func TestAJournalUnderAnotherRunsNameIsRefused(t *testing.T) {
	for _, schema := range []int{1, 2} {
		s := testStore(t)
		for _, body := range realJournals(t, schema) {
			writeRun(t, s, "20270101T000000000-0000", body)
			if _, err := opens(t, s, "20270101T000000000-0000"); err == nil {
				t.Errorf("schema %d: opened", schema)
			}
		}
	}
}

// A summary is a cache: whatever is wrong with it, the run is listed as ended,
// under its name, and holds nothing.
func TestADamagedSummaryIsHarmless(t *testing.T) {
	s := memoryStore(t)
	end(t, begin(t, s, "run-1", testPlan(t, "v")), RunDone)
	path := s.path("run-1", ".json")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for bit := range len(good) * 8 {
		bad := bytes.Clone(good)
		bad[bit/8] ^= 1 << (bit % 8)
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		runs, err := s.List()
		if err != nil || len(runs) != 1 || runs[0].Run != "run-1" || !runs[0].Outcome.Ended() {
			t.Fatalf("bit %d: %+v, %v", bit, runs, err)
		}
		if err := s.conflict([]string{"mount:v"}, "run-2"); err != nil {
			t.Fatalf("bit %d: %v", bit, err)
		}
	}
}
