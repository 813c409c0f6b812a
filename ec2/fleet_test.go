package ec2

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// tokenBucket is one of EC2's token buckets.
// Source: https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html
type tokenBucket struct {
	size, rate, tokens float64
	filled             time.Time
}

func (b *tokenBucket) take() bool {
	now := time.Now()
	if b.filled.IsZero() {
		b.tokens = b.size
	} else {
		b.tokens = min(b.size, b.tokens+b.rate*now.Sub(b.filled).Seconds())
	}
	b.filled = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// fakeAccount is EC2 for a whole fleet: what takes a token has its effect, and volumes are ready after three seconds.
type fakeAccount struct {
	mu      sync.Mutex
	buckets map[string]*tokenBucket
	ready   map[string]time.Time // volume -> available at
	held    map[string]time.Time // volume -> attached at
	host    map[string]string    // volume -> instance
	refused map[string]int
}

func (a *fakeAccount) answer(r request) answer {
	a.mu.Lock()
	defer a.mu.Unlock()
	if b := a.buckets[r.Action]; !b.take() {
		a.refused[r.Action]++
		slow := throttled
		slow.latency = 20 * time.Millisecond
		return slow
	}
	var reply answer
	switch r.Action {
	case "CreateVolume":
		id := "vol-" + r.Form.Get("ClientToken")
		a.ready[id] = time.Now().Add(3 * time.Second)
		reply = createdAnswer(id)
	case "AttachVolume":
		id := r.Form.Get("VolumeId")
		a.held[id], a.host[id] = time.Now().Add(2*time.Second), r.Form.Get("InstanceId")
		reply = answer{body: fmt.Sprintf(`<AttachVolumeResponse %s><volumeId>%s</volumeId><status>attaching</status></AttachVolumeResponse>`, xmlns, id)}
	default:
		var some []Volume
		for _, id := range r.filter("volume-id") {
			some = append(some, a.volume(id))
		}
		reply = volumesAnswer("", some...)
	}
	reply.latency = 50 * time.Millisecond
	return reply
}

// volume is one as it stands now.
func (a *fakeAccount) volume(id string) Volume {
	v := Volume{ID: id, State: "creating"}
	if time.Now().After(a.ready[id]) {
		v.State = "available"
	}
	if at, on := a.held[id]; on {
		v.State = "in-use"
		v.Attachments = []Attachment{{VolumeID: id, InstanceID: a.host[id], Device: "/dev/sdf", State: "attaching"}}
		if time.Now().After(at) {
			v.Attachments[0].State = "attached"
		}
	}
	return v
}

// Two hundred hosts of one account boot at once, make four volumes each and attach them. At best the first volumes are
// there after 3 s, and then 800 attaches against a bucket of 50 that gets 5 a second take 150 s, during which 140 s of
// creates go on; 2 s later the last one is attached. Each host has to look twice, which the describes' bucket has room for.
func TestAFleetThatBootsAtOnceUsesWhatTheBucketsAllow(t *testing.T) {
	const hosts, lanes = 200, 4
	synctest.Test(t, func(t *testing.T) {
		ec2 := &fakeAccount{ready: map[string]time.Time{}, held: map[string]time.Time{}, host: map[string]string{}, refused: map[string]int{}, buckets: map[string]*tokenBucket{
			"CreateVolume": {size: 100, rate: 5}, "AttachVolume": {size: 50, rate: 5}, "DescribeVolumes": {size: 100, rate: 20},
		}}
		begun := time.Now()
		took := make([]time.Duration, hosts)
		var fleet sync.WaitGroup
		for host := range hosts {
			client := (&fakeEC2{answer: ec2.answer}).client(t)
			fleet.Go(func() {
				time.Sleep(rand.N(2 * time.Second))
				var each sync.WaitGroup
				for lane := range lanes {
					each.Go(func() { bootLane(t, client, fmt.Sprintf("%d-%d", host, lane)) })
				}
				each.Wait()
				took[host] = time.Since(begun)
			})
		}
		fleet.Wait()
		slices.Sort(took)
		allowed := 3*time.Second + (hosts*lanes-50)/5*time.Second + 2*time.Second
		t.Logf("all ready after %s (%.2f of what the bucket allows), median %s; refused %v",
			took[hosts-1].Round(time.Second), float64(took[hosts-1])/float64(allowed), took[hosts/2].Round(time.Second), ec2.refused)
		if took[hosts-1] > allowed*115/100 {
			t.Errorf("the last host was ready after %s; the bucket allows %s", took[hosts-1], allowed)
		}
		if took[hosts-1] > 2*took[hosts/2] {
			t.Errorf("the last host was ready after %s, the median one after %s", took[hosts-1], took[hosts/2])
		}
	})
}

func bootLane(t *testing.T, client *Client, token string) {
	volume, err := client.CreateVolume(t.Context(), CreateVolumeRequest{ClientToken: token, Zone: "eu-west-1a", Size: 5})
	if err != nil {
		t.Error(err)
		return
	}
	if _, err = client.WaitVolume(t.Context(), volume.ID, available, nil); err != nil || !strings.HasSuffix(volume.ID, token) {
		t.Errorf("%s: %v", volume.ID, err)
		return
	}
	host, _, _ := strings.Cut(token, "-")
	if _, err := client.AttachVolume(t.Context(), volume.ID, "i-"+host, "/dev/sdf"); err != nil {
		t.Error(err)
		return
	}
	_, err = client.WaitVolume(t.Context(), volume.ID, func(v Volume) (bool, error) {
		at, on := v.On("i-" + host)
		return on && at.State == "attached", nil
	}, nil)
	if err != nil {
		t.Error(err)
	}
}
