package ec2

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func available(v Volume) (bool, error) { return v.State == "available", nil }

func TestSixteenWaitsMakeOneCallPerPoll(t *testing.T) {
	counts := map[int]int{}
	for _, n := range []int{1, 16} {
		synctest.Test(t, func(t *testing.T) {
			w := &volumeList{volumes: volumesNamed(n, "creating")}
			cloud := &fakeEC2{answer: w.answer}
			client := cloud.client(t)
			begun := time.Now()
			time.AfterFunc(3*time.Second, func() {
				for i := range n {
					w.set(fmt.Sprintf("vol-%d", i), func(v *Volume) { v.State = "available" })
				}
			})
			var lanes sync.WaitGroup
			for i := range n {
				lanes.Go(func() {
					id, seen := fmt.Sprintf("vol-%d", i), 0
					volume, err := client.WaitVolume(t.Context(), id, available, func(Volume) { seen++ })
					if err != nil || volume.ID != id || volume.State != "available" || seen < 2 {
						t.Errorf("%s: %+v after %d sights: %v", id, volume, seen, err)
					}
				})
			}
			lanes.Wait()
			if took := time.Since(begun); took < 3*time.Second || took > 3500*time.Millisecond {
				t.Errorf("waited %s for 3 s", took)
			}
			counts[n] = len(cloud.seen("DescribeVolumes"))
			for _, r := range cloud.seen("DescribeVolumes") {
				if len(r.filter("volume-id")) != n || r.Form.Has("VolumeId.1") {
					t.Errorf("a tick asks for %v", r.Form)
				}
			}
		})
	}
	if counts[1] < 8 || counts[1] > 17 || counts[16] > counts[1]+4 || counts[16] < counts[1]-4 {
		t.Errorf("describes: %d for one wait, %d for sixteen", counts[1], counts[16])
	}
}

func TestPollsBackOffAndSpeedUpWhenSomethingChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &volumeList{volumes: volumesNamed(2, "creating")}
		cloud := &fakeEC2{answer: w.answer}
		client := cloud.client(t)
		begun := time.Now()
		time.AfterFunc(5*time.Minute, func() { w.set("vol-0", func(v *Volume) { v.State = "available" }) })
		time.AfterFunc(5*time.Minute+10*time.Second, func() { w.set("vol-1", func(v *Volume) { v.State = "available" }) })
		var lanes sync.WaitGroup
		for _, id := range []string{"vol-0", "vol-1"} {
			lanes.Go(func() {
				if _, err := client.WaitVolume(t.Context(), id, available, nil); err != nil {
					t.Error(err)
				}
			})
		}
		lanes.Wait()
		var longest, afterChange time.Duration
		calls := cloud.seen("")
		for i := 1; i < len(calls); i++ {
			gap := calls[i].At.Sub(calls[i-1].At)
			longest = max(longest, gap)
			if calls[i-1].At.Sub(begun) > 5*time.Minute && afterChange == 0 {
				afterChange = gap
			}
		}
		if longest < 3*time.Second || longest > 6500*time.Millisecond {
			t.Errorf("longest pause is %s, want about PollMax", longest)
		}
		if afterChange > 500*time.Millisecond {
			t.Errorf("after a change the pause is %s, want about PollMin", afterChange)
		}
		if len(calls) > 150 {
			t.Errorf("%d calls in 5 minutes", len(calls))
		}
	})
}

func TestWaitsThatStartOneByOneShareAPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &volumeList{volumes: volumesNamed(20, "creating"), latency: 20 * time.Millisecond}
		cloud := &fakeEC2{answer: w.answer}
		client := cloud.client(t)
		time.AfterFunc(2*time.Second, func() {
			for i := range 20 {
				w.set(fmt.Sprintf("vol-%d", i), func(v *Volume) { v.State = "available" })
			}
		})
		var lanes sync.WaitGroup
		for i := range 20 {
			lanes.Go(func() {
				time.Sleep(time.Duration(i) * 25 * time.Millisecond)
				if _, err := client.WaitVolume(t.Context(), fmt.Sprintf("vol-%d", i), available, nil); err != nil {
					t.Error(err)
				}
			})
		}
		lanes.Wait()
		if got := len(cloud.seen("")); got > 12 {
			t.Errorf("%d describes in 2 s, want no more than one each PollMin", got)
		}
	})
}

func TestAVolumeInErrorEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &volumeList{volumes: volumesNamed(2, "creating")}
		client := (&fakeEC2{answer: w.answer}).client(t)
		time.AfterFunc(time.Second, func() { w.set("vol-0", func(v *Volume) { v.State = "error" }) })
		time.AfterFunc(2*time.Second, func() { w.set("vol-1", func(v *Volume) { v.State = "available" }) })
		var lanes sync.WaitGroup
		lanes.Go(func() {
			volume, err := client.WaitVolume(t.Context(), "vol-0", available, nil)
			fault := wantFault(t, err, Invalid)
			if volume.State != "error" || !strings.Contains(fault.hint, "KMS") {
				t.Errorf("%+v: %v; %s", volume, err, fault.hint)
			}
		})
		lanes.Go(func() {
			if _, err := client.WaitVolume(t.Context(), "vol-1", available, nil); err != nil {
				t.Errorf("the other lane suffered: %v", err)
			}
		})
		lanes.Wait()
	})
}

func TestASnapshotWaitTellsProgressAndWhyItFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud := inSequence(
			snapshotsAnswer("", Snapshot{ID: "snap-1", State: "pending", Progress: 10}),
			snapshotsAnswer("", Snapshot{ID: "snap-1", State: "pending", Progress: 60}),
			snapshotsAnswer("", Snapshot{ID: "snap-1", State: "error", StateMessage: "Given key ID is not accessible"}))
		var percents []int
		_, err := cloud.client(t).WaitSnapshot(t.Context(), "snap-1",
			func(s Snapshot) (bool, error) { return s.State == "completed", nil },
			func(s Snapshot) { percents = append(percents, s.Progress) })
		wantFault(t, err, Invalid)
		if want := "cannot wait for snap-1: the snapshot failed: Given key ID is not accessible"; err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
		if len(percents) != 3 || percents[0] != 10 || percents[1] != 60 {
			t.Errorf("progress %v", percents)
		}
	})
}

func TestNotFoundIsToleratedForTheSettleWindowOnly(t *testing.T) {
	nothing := volumesAnswer("")
	creating := volumesAnswer("", Volume{ID: "vol-1", State: "creating"})
	ready := volumesAnswer("", Volume{ID: "vol-1", State: "available"})
	for _, test := range []struct {
		name    string
		answers []answer
		class   Class // 0: success
		message string
	}{
		{"not visible at first", []answer{nothing, nothing, nothing, ready}, 0, ""},
		{"flickers", []answer{creating, nothing, creating, nothing, ready}, 0, ""},
		{"never appears", []answer{nothing}, NotFound, "does not show it after"},
		{"vanishes", []answer{creating, creating, nothing}, NotFound, "it disappeared"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				_, err := inSequence(test.answers...).client(t).WaitVolume(t.Context(), "vol-1", available, nil)
				if test.class == 0 {
					if err != nil {
						t.Error(err)
					}
					return
				}
				fault := wantFault(t, err, test.class)
				if !strings.Contains(err.Error(), test.message) || !strings.Contains(fault.hint, "KMS key") {
					t.Errorf("%v; %s", err, fault.hint)
				}
				if took := time.Since(begun); took < 30*time.Second || took > 40*time.Second {
					t.Errorf("gave up after %s, want the settle window of 30 s", took)
				}
			})
		})
	}
}

func TestThrottlingSlowsAWaitAndDoesNotFailIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &volumeList{volumes: volumesNamed(1, "creating")}
		begun := time.Now()
		cloud := &fakeEC2{}
		cloud.answer = func(r request) answer {
			if since := time.Since(begun); since > time.Second && since < 2*time.Minute {
				return throttled
			}
			return w.answer(r)
		}
		time.AfterFunc(time.Minute, func() { w.set("vol-0", func(v *Volume) { v.State = "available" }) })
		if _, err := cloud.client(t).WaitVolume(t.Context(), "vol-0", available, nil); err != nil {
			t.Fatal(err)
		}
		if got := len(cloud.seen("")); got > 60 {
			t.Errorf("%d describes while throttled for 2 minutes", got)
		}
		if took := time.Since(begun); took > 2*time.Minute+10*time.Second {
			t.Errorf("took %s, 10 s longer than the throttling", took)
		}
	})
}

func TestAWaitOutlivesADeadEndpointUntilItsTimeIsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud := inSequence(volumesAnswer("", Volume{ID: "vol-1", State: "creating"}), reset)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := cloud.client(t).WaitVolume(ctx, "vol-1", available, nil)
		wantFault(t, err, Canceled)
		for _, part := range []string{"timed out after 1 min: it is still creating", "connection reset"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q lacks %q", err, part)
			}
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Error("does not unwrap to the context's error")
		}
	})
}

func TestARefusedDescribeEndsAllWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := always(errorAnswer(403, "UnauthorizedOperation", "")).client(t)
		var lanes sync.WaitGroup
		for i := range 3 {
			lanes.Go(func() {
				_, err := client.WaitVolume(t.Context(), fmt.Sprintf("vol-%d", i), available, nil)
				wantFault(t, err, Denied)
			})
		}
		lanes.Wait()
	})
}

func TestTheCallersOwnErrorIsReturnedUnchanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		own := errors.New("attached elsewhere")
		client := always(volumesAnswer("", Volume{ID: "vol-1", State: "in-use"})).client(t)
		_, err := client.WaitVolume(t.Context(), "vol-1", func(Volume) (bool, error) { return false, own }, nil)
		if err != own {
			t.Errorf("got %v", err)
		}
	})
}

// The bubble of a synctest ends only when each goroutine in it has: these waits leave none behind, however they end, and
// a later wait finds a poller that runs.
func TestNoGoroutineLeaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &volumeList{volumes: volumesNamed(4, "creating"), latency: 300 * time.Millisecond}
		client := (&fakeEC2{answer: w.answer}).client(t)
		for round := range 3 {
			var lanes sync.WaitGroup
			for i := range 4 {
				lanes.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i*170+1)*time.Millisecond)
					defer cancel()
					_, err := client.WaitVolume(ctx, fmt.Sprintf("vol-%d", i), available, nil)
					wantFault(t, err, Canceled)
				})
			}
			lanes.Wait()
			if client.volumePolls.running != nil || len(client.volumePolls.waiters) != 0 {
				t.Fatalf("round %d left a poller behind", round)
			}
			time.Sleep(time.Duration(round) * time.Second)
		}
	})
}
