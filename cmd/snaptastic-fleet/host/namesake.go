package host

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/activity"

	"snaptastic-fleet/flow"
)

// A Poller is a worker that has asked the server for this host's orders.
type Poller struct {
	Identity string
	Seen     time.Time // by the server's clock
}

// on is between a host's name and its machine in an identity. Names have no spaces.
const on = " on "

// Identity is what a worker is called at the server: by its host and its machine. Two machines may have one host's name, by mistake.
func Identity(name string) string {
	machine, _ := os.Hostname()
	if id, err := os.ReadFile("/etc/machine-id"); err == nil { // not to be shown as it is: machine-id(5)
		sum := sha256.Sum256(append([]byte("snaptastic-fleet "), bytes.TrimSpace(id)...))
		machine += fmt.Sprintf("/%x", sum[:4])
	}
	return "host " + name + on + machine
}

// Named is the host's name in an identity.
func Named(identity string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(identity, "host "), on)
	return name
}

// Pollers asks the server who has asked for the orders of a host. It shows them for some minutes.
func Pollers(ctx context.Context, name string) ([]Poller, error) {
	d, err := activity.GetClient(ctx).DescribeTaskQueue(ctx, flow.HostQueue(name), enumspb.TASK_QUEUE_TYPE_ACTIVITY)
	if err != nil {
		return nil, err
	}
	var list []Poller
	for _, p := range d.GetPollers() {
		list = append(list, Poller{p.GetIdentity(), p.GetLastAccessTime().AsTime()})
	}
	return list, nil
}

// forgotten is how long a worker that was stopped may look like one that waits for an order: each time it waits a minute.
const forgotten = 90 * time.Second

// namesake fails while the worker of another machine has this host's name: each order would be carried out by the one or the other.
// What the server does not tell is not held against anybody.
func (w *Worker) namesake(ctx context.Context) error {
	if w.Pollers == nil {
		return nil
	}
	list, err := w.Pollers(ctx, w.Name)
	if err != nil {
		return nil
	}
	var now time.Time // or nearly so: this worker asks all the time
	for _, p := range list {
		if p.Seen.After(now) {
			now = p.Seen
		}
	}
	mine := Identity(w.Name)
	for _, p := range list {
		if _, machine, known := strings.Cut(p.Identity, on); known && p.Identity != mine && now.Sub(p.Seen) < forgotten {
			_, here, _ := strings.Cut(mine, on)
			return errors.New("two machines go by the name " + w.Name + ", " + here + " and " + machine + ", and either would carry out its orders. " +
				"Stop snaptastic-fleet-worker on one of them, or give it another name (host in the worker block of its fleet.hcl). One that was stopped counts for 90 s")
		}
	}
	return nil
}
