package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"snaptastic/ec2"
	"snaptastic/ec2/ebs"
	"snaptastic/journal"
	"snaptastic/plan"
	"snaptastic/runner"
	"snaptastic/steps"
	"snaptastic/steps/recipe"
	"snaptastic/steps/snapset"
)

// copyingCloud makes copies that take minutes, and no more at a time than EC2 does: what is asked for beyond that is refused.
type copyingCloud struct {
	steps.Cloud
	mu        sync.Mutex
	snapshots map[string]ec2.Snapshot
	rand      *rand.Rand
	pending   int
	most      int
	refused   int
	work      time.Duration // of all copies
}

func (c *copyingCloud) Now() time.Time { return time.Now() }

func (c *copyingCloud) Silence() (time.Duration, string) { return 0, "" }

func (c *copyingCloud) Snapshots(_ context.Context, q ec2.SnapshotQuery) (found []ec2.Snapshot, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.snapshots {
		if s.Tags[snapset.TagToken] == q.Tags[snapset.TagToken][0] {
			found = append(found, s)
		}
	}
	return found, nil
}

func (c *copyingCloud) SnapshotsByID(_ context.Context, ids ...string) (map[string]ec2.Snapshot, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string]ec2.Snapshot{}
	for _, id := range ids {
		if s, is := c.snapshots[id]; is {
			out[id] = s
		}
	}
	return out, nil
}

func (c *copyingCloud) CopySnapshot(_ context.Context, r ec2.CopySnapshotRequest) (string, error) {
	time.Sleep(200 * time.Millisecond) // of the call
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pending >= ec2.MaxCopies {
		c.refused++
		return "", &ec2.Fault{Op: "CopySnapshot", Code: "ResourceLimitExceeded", Class: ec2.RateExceeded, RetryAfter: 15 * time.Second}
	}
	c.pending++
	c.most = max(c.most, c.pending)
	id := fmt.Sprintf("copy-%d", len(c.snapshots))
	c.snapshots[id] = ec2.Snapshot{ID: id, State: ebs.SnapshotPending, Tags: r.Tags}
	takes := 5*time.Minute + time.Duration(c.rand.Int64N(int64(10*time.Minute)))
	c.work += takes
	time.AfterFunc(takes, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		s := c.snapshots[id]
		s.State = ebs.SnapshotCompleted
		c.snapshots[id] = s
		c.pending--
	})
	return id, nil
}

// WaitSnapshot looks every five seconds, as the client's poller does after a while.
func (c *copyingCloud) WaitSnapshot(ctx context.Context, id string, done func(ec2.Snapshot) (bool, error), _ func(ec2.Snapshot)) (ec2.Snapshot, error) {
	for {
		there, _ := c.SnapshotsByID(ctx, id)
		if ok, err := done(there[id]); ok || err != nil {
			return there[id], err
		}
		select {
		case <-ctx.Done():
			return ec2.Snapshot{}, ctx.Err()
		case <-time.After(5 * time.Second):
		}
	}
}

func (c *copyingCloud) CreateTags(_ context.Context, ids []string, tags map[string]string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range ids {
		for key, value := range tags {
			c.snapshots[id].Tags[key] = value
		}
	}
	return nil
}

type noJournal struct{}

func (noJournal) Commit(_ []journal.Entry, done func(error)) { done(nil) }

// 100 sets of 4 are copied in hardly more time than EC2's limit of copies at a time allows: in the time of all copies, shared by so many.
func TestCopiesTakeNoLongerThanEC2sLimitAllows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud := &copyingCloud{snapshots: map[string]ec2.Snapshot{}, rand: rand.New(rand.NewPCG(1, 2))}
		r := recipe.Request{Spec: recipe.Spec{Name: "db", Volumes: []recipe.Volume{{MountPoint: "/mnt/a"}}, Copies: []recipe.Destination{{Region: "eu-central-1"}}}, CopyFrom: "eu-west-1"}
		for i := range 100 {
			set := recipe.SetCopy{CopyDecision: snapset.CopyDecision{Region: "eu-central-1", Set: fmt.Sprintf("R%d/T", i), Copy: true, Size: 4}}
			for j := range 4 {
				s := ec2.Snapshot{ID: fmt.Sprintf("snap-%d-%d", i, j), State: ebs.SnapshotCompleted, VolumeSize: 10,
					Tags: map[string]string{snapset.TagMountPoint: fmt.Sprintf("/mnt/%d", j), snapset.TagState: snapset.Consistent, snapset.TagSet: set.Set}}
				cloud.snapshots[s.ID] = s
				set.Members = append(set.Members, s)
			}
			r.Copies = append(r.Copies, set)
		}
		recipe.NameCopies(r.Copies)
		p, err := recipe.Copy.Plan(r)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		res := runner.Execute(t.Context(), runner.Config{Plan: p, Run: "R", Journal: noJournal{}, Workers: len(p.Steps),
			Records: map[plan.StepID]journal.Record{}, Handlers: steps.Handlers(&steps.Env{Cloud: cloud})})
		took, limit := time.Since(began), cloud.work/ec2.MaxCopies
		if res.Outcome != journal.RunDone || len(res.Done) != 100 {
			t.Fatalf("it ends as %s with %d sets: %+v", res.Outcome, len(res.Done), res.Failures)
		}
		t.Logf("%s, the limit is %s: %.3f; at most %d at a time, %d refused", took, limit, float64(took)/float64(limit), cloud.most, cloud.refused)
		if float64(took) > 1.15*float64(limit) || cloud.refused > 0 || cloud.most > ec2.MaxCopies {
			t.Errorf("it took %s, want at most 1.15 of %s; %d calls were refused", took, limit, cloud.refused)
		}
	})
}
