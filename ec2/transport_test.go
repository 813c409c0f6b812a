package ec2

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// lateConn returns from a write only some time after the answer to it has come, like a thread that a busy machine does
// not let run.
type lateConn struct {
	net.Conn
	answered chan struct{}
	once     *sync.Once
}

func (c lateConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.once.Do(func() { close(c.answered) })
	}
	return n, err
}

func (c lateConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	select {
	case <-c.answered:
	case <-time.After(50 * time.Millisecond): // more of the request is to be written first
	}
	time.Sleep(20 * time.Millisecond)
	return n, err
}

func TestAnAnswerIsReadAlthoughTheSenderIsLate(t *testing.T) {
	for _, tags := range []int{1, 40} { // less and more than net/http collects before it sends
		t.Run(fmt.Sprintf("%d tags", tags), func(t *testing.T) {
			more := make(chan struct{})
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_ = r.ParseForm()
				fmt.Fprintf(w, `<CreateSnapshotsResponse %s><snapshotSet>`, xmlns)
				fmt.Fprint(w, strings.Repeat(" ", 2*maxPreamble))
				w.(http.Flusher).Flush()
				<-more
				fmt.Fprint(w, `<item><snapshotId>snap-1</snapshotId></item></snapshotSet></CreateSnapshotsResponse>`)
			}))
			defer server.Close()
			client, err := New(t.Context(), Config{Region: "eu-west-1", EndpointURL: server.URL, Credentials: Credentials{ID: "a", Secret: "b"},
				Transport: &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
					conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
					return lateConn{conn, make(chan struct{}), new(sync.Once)}, err
				}}})
			if err != nil {
				t.Fatal(err)
			}
			r := CreateSnapshotsRequest{InstanceID: "i-1", Tags: map[string]string{}}
			for i := range tags {
				r.Tags[fmt.Sprintf("%d-%s", i, strings.Repeat("k", 60))] = strings.Repeat("v", 60)
			}
			time.AfterFunc(500*time.Millisecond, func() { close(more) })
			if made, err := client.CreateSnapshots(t.Context(), r); err != nil || len(made) != 1 {
				t.Errorf("%v, %v", made, err)
			}
		})
	}
}
