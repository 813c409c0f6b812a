package snapset

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestKeepIsWhatResticKeeps holds Keep against the real `restic forget --dry-run --json`. SNAPTASTIC_RESTIC is how many random
// histories to take (100 by default).
func TestKeepIsWhatResticKeeps(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("restic")
	if err != nil {
		t.Skip("restic is not installed (Debian: restic)")
	}
	histories := 100
	if n, err := strconv.Atoi(os.Getenv("SNAPTASTIC_RESTIC")); err == nil {
		histories = n
	} else if testing.Short() {
		histories = 10
	}
	repo := newResticRepository(t, program)
	const together = 5 // histories of one call: restic derives a slow key in each
	for seed := range histories / together {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			repo.compare(t, mathrand.New(mathrand.NewPCG(uint64(seed), 4)), together)
		})
	}
}

// resticRepository is an empty one, and the key that what is in one is written with.
type resticRepository struct {
	program, dir string
	env          []string
	recent       bool // since 0.16 it knows of unlimited counts, and keeps the oldest as long as a rule has counts left
	key          struct {
		MAC struct {
			K []byte `json:"k"`
			R []byte `json:"r"`
		} `json:"mac"`
		Encrypt []byte `json:"encrypt"`
	}
}

func newResticRepository(t *testing.T, program string) *resticRepository {
	t.Helper()
	r := &resticRepository{program: program, dir: t.TempDir(), env: append(os.Environ(), "RESTIC_PASSWORD=x", "RESTIC_PROGRESS_FPS=1")}
	version := string(r.run(t, r.env, "version"))
	var major, minor int
	if _, err := fmt.Sscanf(version, "restic %d.%d", &major, &minor); err != nil {
		t.Fatalf("%q: %v", version, err)
	}
	r.recent = major > 0 || minor >= 16
	r.run(t, r.env, "-r", r.dir, "init", "--no-cache")
	if err := json.Unmarshal(r.run(t, r.env, "-r", r.dir, "cat", "masterkey", "--no-cache"), &r.key); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *resticRepository) run(t *testing.T, env []string, args ...string) []byte {
	t.Helper()
	c := exec.CommandContext(t.Context(), r.program, args...)
	c.Env = env
	out, err := c.Output()
	if err != nil {
		t.Fatalf("restic %s: %v", strings.Join(args, " "), err)
	}
	return out
}

// put writes a snapshot into a repository: restic has no fast way to make many.
// Source: https://restic.readthedocs.io/en/stable/100_references.html#keys-encryption-and-mac
func (r *resticRepository) put(t *testing.T, dir, host string, at time.Time) {
	t.Helper()
	text, err := json.Marshal(map[string]any{"time": at, "tree": strings.Repeat("0", 64), "paths": []string{"/m"}, "hostname": host})
	if err != nil {
		t.Fatal(err)
	}
	sealed := make([]byte, 16+len(text))
	_, _ = rand.Read(sealed[:16])
	block, err := aes.NewCipher(r.key.Encrypt)
	if err != nil {
		t.Fatal(err)
	}
	cipher.NewCTR(block, sealed[:16]).XORKeyStream(sealed[16:], text)
	sealed = append(sealed, r.mac(t, sealed[:16], sealed[16:])...)
	sum := sha256.Sum256(sealed)
	if err := os.WriteFile(filepath.Join(dir, "snapshots", hex.EncodeToString(sum[:])), sealed, 0o600); err != nil {
		t.Fatal(err)
	}
}

// mac is Poly1305-AES.
// Source: https://cr.yp.to/mac/poly1305-20050329.pdf
func (r *resticRepository) mac(t *testing.T, nonce, message []byte) []byte {
	t.Helper()
	littleEndian := func(b []byte) *big.Int {
		b = slices.Clone(b)
		slices.Reverse(b)
		return new(big.Int).SetBytes(b)
	}
	k, err := aes.NewCipher(r.key.MAC.K)
	if err != nil {
		t.Fatal(err)
	}
	s, clamped := make([]byte, 16), slices.Clone(r.key.MAC.R)
	k.Encrypt(s, nonce)
	for _, i := range []int{3, 7, 11, 15} {
		clamped[i] &= 15
	}
	for _, i := range []int{4, 8, 12} {
		clamped[i] &= 252
	}
	prime := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 130), big.NewInt(5))
	sum, factor := new(big.Int), littleEndian(clamped)
	for part := range slices.Chunk(message, 16) {
		sum.Add(sum, littleEndian(append(slices.Clone(part), 1)))
		sum.Mod(sum.Mul(sum, factor), prime)
	}
	sum.Add(sum, littleEndian(s))
	out := make([]byte, 17)
	sum.Mod(sum, new(big.Int).Lsh(big.NewInt(1), 128)).FillBytes(out)
	slices.Reverse(out)
	return out[:16]
}

// compare makes random histories and rules, and asks both.
func (r *resticRepository) compare(t *testing.T, rnd *mathrand.Rand, histories int) {
	k := randomKeep(rnd, r.recent)
	zone, err := k.Location()
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(r.dir)); err != nil {
		t.Fatal(err)
	}
	all := map[string][]time.Time{}
	for i := range histories {
		host := fmt.Sprint("h", i)
		all[host] = randomHistory(rnd, zone)
		for _, at := range all[host] {
			r.put(t, dir, host, at.In(zone))
		}
	}
	args := []string{"-r", dir, "forget", "--no-lock", "--no-cache", "--dry-run", "--json", "--group-by", "host"}
	for _, rule := range k.rules() {
		if rule.count != 0 {
			args = append(args, fmt.Sprintf("--keep-%s=%s", rule.name, strings.Replace(fmt.Sprint(rule.count), "-1", "unlimited", 1)))
		}
	}
	if !k.Within.IsZero() {
		args = append(args, "--keep-within="+k.Within.String())
	}
	var groups []struct {
		Host    string
		Reasons []struct {
			Snapshot struct{ Time time.Time }
			Matches  []string
		}
		Remove []struct{ Time time.Time }
	}
	out := r.run(t, append(slices.Clone(r.env), "TZ="+zone.String()), args...)
	if err := json.Unmarshal(out[strings.IndexByte(string(out), '['):], &groups); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if len(groups) != len(all) {
		t.Fatalf("restic has %d of %d histories", len(groups), len(all))
	}
	for _, g := range groups {
		times := all[g.Host]
		var want, got []string
		for _, kept := range g.Reasons {
			for _, m := range kept.Matches {
				m, _, _ = strings.Cut(strings.TrimSuffix(m, " snapshot"), " within")
				want = append(want, kept.Snapshot.Time.UTC().Format(time.RFC3339)+" "+strings.ReplaceAll(m, "oldest ", ""))
			}
		}
		if len(g.Reasons)+len(g.Remove) != len(times) {
			t.Fatalf("restic has %d and %d of %d snapshots", len(g.Reasons), len(g.Remove), len(times))
		}
		for i, reasons := range k.Reasons(times, zone, time.Now()) {
			for _, reason := range reasons {
				if reason.Oldest && !r.recent {
					continue
				}
				text := string(reason.Rule)
				if reason.Rule == RuleWithin {
					text += " " + reason.Period
				}
				got = append(got, times[i].UTC().Format(time.RFC3339)+" "+text)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s, in %s, of\n%v\nkeep:\n%s\nrestic:\n%s", k, zone, times, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

func randomKeep(rnd *mathrand.Rand, unlimited bool) (k Keep) {
	for k.IsZero() {
		for _, n := range []*int{&k.Last, &k.Hourly, &k.Daily, &k.Weekly, &k.Monthly, &k.Yearly} {
			switch rnd.IntN(8) {
			case 0, 1, 2:
				*n = 1 + rnd.IntN(14)
			case 3:
				if unlimited {
					*n = Unlimited
				}
			}
		}
		if rnd.IntN(3) == 0 {
			k.Within = Span{Hours: rnd.IntN(80), Days: rnd.IntN(40), Months: rnd.IntN(14) * rnd.IntN(2), Years: rnd.IntN(3) * rnd.IntN(2)}
		}
	}
	zones := []string{"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Sao_Paulo", "Pacific/Apia"}
	k.Timezone = zones[rnd.IntN(len(zones))]
	return k
}

// randomHistory is of a nightly or hourly schedule with gaps and jitter, near days on which clocks change, leap days and the
// ends of years; newest first, no two of one second.
func randomHistory(rnd *mathrand.Rand, zone *time.Location) (times []time.Time) {
	around := []time.Time{
		time.Date(2024, 2, 29, 23, 30, 0, 0, zone), time.Date(2025, 3, 1, 0, 30, 0, 0, zone), time.Date(2020, 2, 29, 2, 0, 0, 0, zone),
		time.Date(2025, 3, 30, 2, 30, 0, 0, zone), time.Date(2025, 10, 26, 2, 30, 0, 0, zone), time.Date(2024, 3, 10, 2, 30, 0, 0, zone),
		time.Date(2024, 11, 3, 1, 30, 0, 0, zone), time.Date(2025, 4, 6, 1, 45, 0, 0, zone), time.Date(2011, 12, 31, 0, 0, 0, 0, zone),
		time.Date(2021, 1, 3, 23, 59, 59, 0, zone), time.Date(2020, 12, 31, 23, 59, 59, 0, zone), time.Date(2024, 12, 31, 12, 0, 0, 0, zone),
	}
	at := around[rnd.IntN(len(around))].Add(time.Duration(rnd.IntN(72)) * time.Hour)
	step := []time.Duration{20 * time.Minute, time.Hour, 8 * time.Hour, 24 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour, 40 * 24 * time.Hour}[rnd.IntN(7)]
	for range 1 + rnd.IntN(45) {
		times = append(times, at.UTC().Truncate(time.Second))
		gap := step
		switch rnd.IntN(8) {
		case 0:
			gap = time.Duration(1+rnd.IntN(600)) * time.Minute
		case 1:
			gap *= time.Duration(1 + rnd.IntN(9))
		}
		at = at.Add(-gap - time.Duration(rnd.IntN(180))*time.Second)
	}
	return times
}
