package flow

import (
	"slices"
	"testing"
	"time"
)

// ec2Bucket counts the requests that EC2 would refuse of those at these times.
func ec2Bucket(requests []time.Time) (throttled int) {
	const size = 100.0
	tokens := size
	slices.SortFunc(requests, time.Time.Compare)
	for i, at := range requests {
		if i > 0 {
			tokens = min(size, tokens+at.Sub(requests[i-1]).Seconds()*refill)
		}
		if tokens < 1 {
			throttled++
			continue
		}
		tokens--
	}
	return throttled
}

// requested has the hosts say when they make their requests: a dry run when they prepare, and the call at the instant.
func requested(w *world) *[]time.Time {
	requests := new([]time.Time)
	w.prepare = func(string) (Ready, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		*requests = append(*requests, w.now())
		return Ready{Members: 2}, nil
	}
	w.window = func(h string, r WindowRequest) (WindowResult, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		*requests = append(*requests, r.At)
		return w.good(h, r), nil
	}
	return requests
}

// A thousand hosts in cells against EC2's bucket, in virtual time: no request is throttled, and it takes hardly longer than the bucket
// allows for two requests of each host.
func TestAThousandHostsKeepToEC2sLimit(t *testing.T) {
	const hosts = 1000
	w := &world{}
	requests := requested(w)
	e := w.env(t)
	req := request(hosts)
	req.Cell = MostInOneWindow
	e.ExecuteWorkflow(Snapshot, req)
	r, err := snapshotResult(t, e)
	throttled := ec2Bucket(*requests)
	if err != nil || !r.Labelled || len(r.Cells) != 13 || throttled != 0 || len(*requests) != 2*hosts {
		t.Fatalf("%v, %d cells, %d of %d requests throttled", err, len(r.Cells), throttled, len(*requests))
	}
	took, limit := w.until.Sub((*requests)[0]).Seconds(), (2*hosts-100.0)/refill
	t.Logf("%.0f s, EC2 allows it in %.0f s: %.2f", took, limit, took/limit)
	if took > 1.15*limit {
		t.Errorf("%.0f s, and EC2 allows it in %.0f s", took, limit)
	}
}

// Whatever the size of cells, EC2 refuses nothing; and who is few enough waits for nothing but the lead.
func TestTheInstantIsAsLateAsEC2sLimitNeedsIt(t *testing.T) {
	for _, c := range []struct {
		hosts, cell int
		lead, want  time.Duration // from the beginning to the last instant; 0: whatever it is
	}{
		{3, 0, 2 * time.Second, 2 * time.Second},
		{40, 0, 2 * time.Second, 2 * time.Second},
		{50, 0, 2 * time.Second, 4 * time.Second},
		{65, 0, 10 * time.Second, 10 * time.Second},
		{80, 0, 10 * time.Second, 16 * time.Second},
		{80, 0, time.Minute, time.Minute},
		{6, 2, 2 * time.Second, 0},
		{40, 20, 2 * time.Second, 0},
		{300, 30, 2 * time.Second, 0},
		{300, 7, 2 * time.Second, 0},
		{170, 80, 2 * time.Second, 0},
	} {
		w := &world{}
		requests := requested(w)
		e := w.env(t)
		begun := e.Now()
		req := request(c.hosts)
		req.Cell, req.Lead = c.cell, c.lead
		e.ExecuteWorkflow(Snapshot, req)
		r, err := snapshotResult(t, e)
		if throttled := ec2Bucket(*requests); err != nil || !r.Labelled || throttled != 0 {
			t.Errorf("%d hosts in cells of %d: %v, %d requests throttled", c.hosts, c.cell, err, throttled)
		}
		if took := r.At.Sub(begun).Round(100 * time.Millisecond); c.want > 0 && took != c.want {
			t.Errorf("%d hosts, lead %s: an instant after %s, want %s", c.hosts, c.lead, took, c.want)
		}
	}
}

// A cell that was not begun has made its requests of prepare all the same.
func TestACellThatIsNotReadyHasMadeItsRequests(t *testing.T) {
	w := &world{}
	requests := requested(w)
	prepared := w.prepare
	w.prepare = func(h string) (Ready, error) {
		r, err := prepared(h)
		if h == "h1" {
			r.Members = 0
		}
		return r, err
	}
	e := w.env(t)
	req := request(160)
	req.Cell = 80
	e.ExecuteWorkflow(Snapshot, req)
	_, err := snapshotResult(t, e)
	if throttled := ec2Bucket(*requests); err == nil || len(w.labelled) != 1 || throttled != 0 {
		t.Errorf("%v, labelled %v, %d requests throttled", err, w.labelled, throttled)
	}
}
