package sandbox

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"time"
)

// Latency is how long operations take; zero means at once.
type Latency struct {
	Request  time.Duration // every API call
	Create   time.Duration // a volume from creating to available
	Attach   time.Duration // an attachment from attaching to attached
	Detach   time.Duration // from the end of the last use of the device to available
	Snapshot time.Duration // a snapshot from pending to completed
	Copy     time.Duration // a snapshot that CopySnapshot makes; as Snapshot when 0
	Modify   time.Duration // a volume's modification
	Image    time.Duration // an image from pending to available
	Run      time.Duration // an instance from pending to running
	Lag      time.Duration // describes show things as they were so long ago: what was made, changed, tagged, attached, detached, deleted
}

// Fault makes some calls fail or behave wrongly. All matching faults apply to a call. In JSON, durations are strings
// such as "1.5s".
type Fault struct {
	Action string            `json:"action,omitempty"` // name, with wildcards; "" is every EC2 action; "imds" the metadata service. A dry run suffers from Error and Rate alone
	Params map[string]string `json:"params,omitempty"` // parameters that must match, with wildcards

	// Which of the matching calls are hit: all, unless one of these is set.
	Nth         int     `json:"nth,omitempty"`         // only the n-th, from 1
	Every       int     `json:"every,omitempty"`       // each n-th
	Count       int     `json:"count,omitempty"`       // at most so many
	Probability float64 `json:"probability,omitempty"` // 0 to 1
	Seed        uint64  `json:"seed,omitempty"`        // of the probability
	Rate        float64 `json:"rate,omitempty"`        // a bucket refilled with so many a second: strikes when it is empty
	Burst       int     `json:"burst,omitempty"`       // the bucket's size; 1 when 0

	// What happens.
	Latency time.Duration `json:"-"`                 // the call takes longer: "latency"
	Error   string        `json:"error,omitempty"`   // it is refused with this code, without effect
	Message string        `json:"message,omitempty"` // of the error
	Status  int           `json:"status,omitempty"`  // HTTP status of the error; EC2's own for the code when 0
	Reset   string        `json:"reset,omitempty"`   // "before" or "after" the effect the connection is reset
	Hang    time.Duration `json:"-"`                 // it hangs so long: "hang"
	Skew    time.Duration `json:"-"`                 // its Date header is so far ahead of this machine's clock: "skew"
	Body    *string       `json:"body,omitempty"`    // of a metadata answer: this instead of its own, "" for none
	When    string        `json:"when,omitempty"`    // of the hang: "before" (the default) or "after" the effect

	// Effect is what happens to the created resource. CreateVolume: vanish, error, stuck (in creating); AttachVolume:
	// stuck (in attaching), xen (the device appears as on a Xen instance, without a serial); CreateSnapshot,
	// CreateSnapshots, CopySnapshot: error, stuck (in pending), archive. A describe: stale, it returns older data
	// than the one before.
	Effect string        `json:"effect,omitempty"`
	At     int           `json:"at,omitempty"` // percent at which a snapshot's error comes, 50 when 0; of xen: by how many letters the kernel moves the name
	After  time.Duration `json:"-"`            // how long after its creation a volume vanishes or is in error, how old a stale view is (5s when 0): "after"

	place int // in the list: two equal faults count each for itself
}

type faultFields Fault

type faultJSON struct {
	faultFields
	Latency string `json:"latency,omitempty"`
	Hang    string `json:"hang,omitempty"`
	Skew    string `json:"skew,omitempty"`
	After   string `json:"after,omitempty"`
}

// UnmarshalJSON implements json.Unmarshaler.
func (f *Fault) UnmarshalJSON(data []byte) error {
	var j faultJSON
	if err := decodeStrict(data, &j); err != nil {
		return err
	}
	*f = Fault(j.faultFields)
	return errors.Join(parseDuration(j.Latency, &f.Latency), parseDuration(j.Hang, &f.Hang), parseDuration(j.Skew, &f.Skew), parseDuration(j.After, &f.After))
}

// MarshalJSON implements json.Marshaler.
func (f Fault) MarshalJSON() ([]byte, error) {
	return json.Marshal(faultJSON{faultFields(f), durationString(f.Latency), durationString(f.Hang), durationString(f.Skew), durationString(f.After)})
}

func durationString(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}

// hits is the counter of a fault. It is stored with the sandbox, so a fault on the third call counts across
// processes.
type hits struct {
	Seen   int       `json:"seen"`
	Hit    int       `json:"struck,omitempty"`
	Bucket float64   `json:"bucket,omitempty"`
	At     time.Time `json:"at,omitzero"`
}

func (f *Fault) matches(action string, params map[string]string) bool {
	if f.Action == "" && action == "imds" || f.Action != "" && !glob(f.Action, action) {
		return false
	}
	for name, pattern := range f.Params {
		if !glob(pattern, params[name]) {
			return false
		}
	}
	return true
}

func (f *Fault) counts() bool {
	return f.Nth > 0 || f.Every > 0 || f.Count > 0 || f.Probability > 0 || f.Rate > 0
}

// hit counts one more call in h and reports whether the fault applies to it.
func (f *Fault) hit(h *hits, now time.Time) bool {
	h.Seen++
	switch {
	case f.Nth > 0 && h.Seen != f.Nth:
		return false
	case f.Every > 0 && h.Seen%f.Every != 0:
		return false
	case f.Count > 0 && h.Hit >= f.Count:
		return false
	case f.Probability > 0 && rand.New(rand.NewPCG(f.Seed, uint64(h.Seen))).Float64() >= f.Probability:
		return false
	}
	if f.Rate > 0 {
		burst := float64(max(f.Burst, 1))
		if h.Seen == 1 {
			h.Bucket = burst
		} else {
			h.Bucket = min(burst, h.Bucket+f.Rate*now.Sub(h.At).Seconds())
		}
		h.At = now
		if h.Bucket >= 1 {
			h.Bucket--
			return false
		}
	}
	h.Hit++
	return true
}

// refusal is the error answer of the fault to the action, or nil.
func (f *Fault) refusal(action string, in World) error {
	code := f.Error
	if code == "" && f.Rate > 0 {
		code = "RequestLimitExceeded"
	}
	if code == "" && f.Status > 0 {
		code = "InternalError"
	}
	if code == "" {
		return nil
	}
	return &refusal{Code: code, Message: cmp.Or(f.Message, messageOf(code, action, in)), Status: cmp.Or(f.Status, statusOf(code))}
}

func messageOf(code, action string, in World) string {
	switch code {
	case "RequestLimitExceeded":
		return "Request limit exceeded."
	case "UnauthorizedOperation":
		return fmt.Sprintf("You are not authorized to perform this operation. User: arn:aws:sts::%s:assumed-role/%s/sandbox is not authorized to perform: ec2:%s on resource: arn:aws:ec2:%s:%s:instance/* because no identity-based policy allows the ec2:%s action",
			in.Account, roleName, action, in.Region, in.Account, action)
	case "SnapshotCreationPerVolumeRateExceeded":
		return "The maximum per volume CreateSnapshot request rate has been exceeded. Use an increasing or variable sleep interval between requests."
	case "InternalError":
		return "An internal error has occurred"
	case "ServiceUnavailable", "Unavailable":
		return "Service is temporarily unavailable"
	case "VolumeLimitExceeded":
		return "You have exceeded your maximum gp3 storage limit in this region"
	}
	return "The sandbox was told to answer with " + code
}

// names returns a one-word description of each fault.
func names(hit []Fault) []string {
	var words []string
	for _, f := range hit {
		words = append(words, f.word())
	}
	return words
}

func (f *Fault) word() string {
	switch {
	case f.Reset != "":
		return "reset-" + f.Reset
	case f.Hang > 0:
		return "hang-" + cmp.Or(f.When, "before")
	case f.refusal("", defaultWorld) != nil:
		return asRefusal(f.refusal("", defaultWorld)).Code
	case f.Effect != "":
		return f.Effect
	case f.Skew != 0:
		return "skew"
	case f.Body != nil:
		return "body"
	}
	return "latency"
}

// matchFaults returns the faults that apply to this call.
func (w *Sandbox) matchFaults(in World, action string, params map[string]string) ([]Fault, error) {
	w.mu.Lock()
	behaviour, err := w.faultsOf(in.key()).read(w.config)
	w.mu.Unlock()
	if err != nil {
		return nil, err
	}
	var hit, counting []Fault
	for i, f := range behaviour.Faults {
		if !f.matches(action, params) {
			continue
		}
		if params["DryRun"] == "true" && f.Rate == 0 && (f.counts() || f.Error == "") {
			continue // these are for calls that have an effect; a refusal is foretold by a dry run, which takes from a bucket as EC2's may
		}
		if f.counts() {
			f.place = i
			counting = append(counting, f)
		} else {
			hit = append(hit, f)
		}
	}
	if len(counting) == 0 {
		return hit, nil
	}
	err = w.transactIn(in, func(t *tx) error {
		for _, f := range counting {
			var h hits
			if before := t.rows.Hits[t.in+f.key()]; before != nil {
				h = *before
			}
			if f.hit(&h, t.now) {
				hit = append(hit, f)
			}
			t.change.Hits[t.in+f.key()] = &h
		}
		return nil
	})
	return hit, err
}

// key identifies the fault's counter: an edited fault starts a new one.
func (f *Fault) key() string {
	h := fnv.New64a()
	text, _ := json.Marshal(f) // plain fields: cannot fail
	h.Write(text)
	return strconv.Itoa(f.place) + "-" + strconv.FormatUint(h.Sum64(), 16)
}

// behaviour is everything that can change while the sandbox is open.
type behaviour struct {
	Latency  Latency
	Faults   []Fault
	PageSize int
	Strict   bool
	Policy   *Policy

	DisabledKeys []string // KMS keys that cannot be used, by id, alias or ARN as requests name them, with wildcards
}

// keepsHistory reports whether describes may show older data.
func (b *behaviour) keepsHistory() bool {
	return b.Latency.Lag > 0 || slices.ContainsFunc(b.Faults, func(f Fault) bool { return f.Effect == "stale" })
}

// Strict mode adds a normal lag, and now and then a describe that lags more.
const strictLag = 500 * time.Millisecond

var strictFault = Fault{Action: "Describe*", Every: 5, Effect: "stale", After: 2 * time.Second}

// faultFile is DIR/faults.json as last read:
//
//	{"latency": {"create": "2s", "lag": "500ms"}, "page_size": 5, "strict": true, "disabled_keys": ["*key/1234*"],
//	 "faults": [{"action": "CreateSnapshots", "nth": 2, "reset": "after"}]}
type faultFile struct {
	path    string
	stamp   string
	current behaviour
}

type behaviourJSON struct {
	Latency  map[string]string `json:"latency,omitempty"`
	Faults   []Fault           `json:"faults,omitempty"`
	PageSize int               `json:"page_size,omitempty"`
	Strict   bool              `json:"strict,omitempty"`
	Policy   *Policy           `json:"policy,omitempty"`

	DisabledKeys []string `json:"disabled_keys,omitempty"`
}

// read returns the behaviour of the file if it has changed; it overrides config.
func (f *faultFile) read(config Config) (behaviour, error) {
	stamp := "none"
	if info, err := os.Stat(f.path); err == nil {
		stamp = fmt.Sprint(info.ModTime().UnixNano(), info.Size(), fileNumber(info))
	}
	if stamp == f.stamp {
		return f.current, nil
	}
	next := behaviour{Latency: config.Latency, Faults: config.Faults, PageSize: config.PageSize, Strict: config.Strict, Policy: config.Policy, DisabledKeys: config.Keys}
	if stamp != "none" {
		content, err := os.ReadFile(f.path)
		if err != nil {
			return next, fmt.Errorf("cannot read the faults: %w", err)
		}
		if err := next.add(content); err != nil {
			return next, fmt.Errorf("cannot read %s: %w", f.path, err)
		}
	}
	if next.Strict {
		next.Latency.Lag = cmp.Or(next.Latency.Lag, strictLag)
		next.Faults = append(next.Faults[:len(next.Faults):len(next.Faults)], strictFault)
	}
	f.stamp, f.current = stamp, next
	return next, nil
}

// sleep waits for d or until the caller gives up.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// add parses a fault file, or a list of faults alone.
func (b *behaviour) add(content []byte) error {
	var j behaviourJSON
	var err error
	if bytes.HasPrefix(bytes.TrimSpace(content), []byte("[")) {
		err = decodeStrict(content, &j.Faults)
	} else {
		err = decodeStrict(content, &j)
	}
	if err != nil {
		return err
	}
	if err := b.Latency.set(j.Latency); err != nil {
		return err
	}
	b.Faults = append(b.Faults[:len(b.Faults):len(b.Faults)], j.Faults...)
	b.PageSize = cmp.Or(j.PageSize, b.PageSize)
	b.Strict = b.Strict || j.Strict
	b.Policy = cmp.Or(j.Policy, b.Policy)
	b.DisabledKeys = append(b.DisabledKeys[:len(b.DisabledKeys):len(b.DisabledKeys)], j.DisabledKeys...)
	return nil
}

// ReadFaults adds a fault file to the config: JSON like that of DIR/faults.json, or a list of faults alone.
func (c *Config) ReadFaults(content []byte) error {
	b := behaviour{Latency: c.Latency, Faults: c.Faults, PageSize: c.PageSize, Strict: c.Strict, Policy: c.Policy, DisabledKeys: c.Keys}
	if err := b.add(content); err != nil {
		return err
	}
	c.Latency, c.Faults, c.PageSize, c.Strict, c.Policy, c.Keys = b.Latency, b.Faults, b.PageSize, b.Strict, b.Policy, b.DisabledKeys
	return nil
}
