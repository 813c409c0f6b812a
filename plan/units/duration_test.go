package units

import (
	"testing"
	"time"
)

const (
	ms   = time.Millisecond
	sec  = time.Second
	mins = time.Minute
	hour = time.Hour
)

func TestDurations(t *testing.T) {
	for _, c := range []struct {
		d                        time.Duration
		took, age, limit, logged string
	}{
		{-sec, "0 s", "0 s", "0s", "-1s"},
		{0, "0 s", "0 s", "0s", "0s"},
		{400, "0 ms", "0 s", "1s", "0s"},
		{250 * time.Microsecond, "0.25 ms", "0 s", "1s", "0s"},
		{1240 * time.Microsecond, "1.2 ms", "0 s", "1s", "1ms"},
		{57 * ms, "57 ms", "0 s", "1s", "57ms"},
		{999*ms + 400*time.Microsecond, "999 ms", "1 s", "1s", "999ms"},
		{999*ms + 600*time.Microsecond, "1 s", "1 s", "1s", "1s"},
		{1240 * ms, "1.24 s", "1 s", "2s", "1.24s"},
		{12345 * ms, "12.3 s", "12 s", "13s", "12.345s"},
		{59*sec + 960*ms, "1 min", "60 s", "1m", "59.96s"},
		{65 * sec, "1 min 05 s", "65 s", "65s", "1m5s"},
		{90 * mins, "1 h 30 min", "90 min", "90m", "1h30m0s"},
		{hour - 400*ms, "1 h", "60 min", "1h", "59m59.6s"},
		{2*hour + 3*mins, "2 h 03 min", "2 h", "2h3m", "2h3m0s"},
		{26 * hour, "26 h", "26 h", "26h", "26h0m0s"},
		{26*hour + 1, "26 h", "26 h", "26h1s", "26h0m0s"},
		{47*hour + 59*mins + 50*sec, "2 days", "48 h", "47h59m50s", "47h59m50s"},
		{3*day + 5*mins, "3 days", "3 days", "72h5m", "72h5m0s"},
		{7 * day, "7 days", "7 days", "7d", "168h0m0s"},
	} {
		if took, age, limit, logged := Took(c.d), Age(c.d), Limit(c.d), Logged(c.d); took != c.took || age != c.age || limit != c.limit || logged != c.logged {
			t.Errorf("%v: got %q, %q, %q, %q; want %q, %q, %q, %q", c.d, took, age, limit, logged, c.took, c.age, c.limit, c.logged)
		}
	}
}

// What is shown as a limit can be given as one.
func TestALimitIsReadAgain(t *testing.T) {
	for d := sec; d < 400*day; d = d*5/3 + sec {
		if got, err := ParseDuration(Limit(d)); err != nil || got < d || got >= d+sec {
			t.Errorf("%v is written %s and read %v, %v", d, Limit(d), got, err)
		}
	}
}

func TestCount(t *testing.T) {
	for n, want := range map[int]string{0: "0 volumes", 1: "1 volume", 2: "2 volumes"} {
		if got := Count(n, "volume", "volumes"); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}
