package ec2

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeMetadata is a metadata service with the given entries, which refuses version 1.
type fakeMetadata struct {
	entries map[string]string
	mu      sync.Mutex
	asked   []string
}

func (i *fakeMetadata) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/latest/api/token" {
		if r.Method != http.MethodPut {
			http.Error(w, "", http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", r.Header.Get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds"))
		fmt.Fprint(w, "session")
		return
	}
	i.mu.Lock()
	i.asked = append(i.asked, r.URL.Path)
	i.mu.Unlock()
	if r.Header.Get("X-Aws-Ec2-Metadata-Token") != "session" {
		http.Error(w, "", http.StatusUnauthorized)
		return
	}
	entry, ok := i.entries[r.URL.Path]
	if !ok {
		http.Error(w, "", http.StatusNotFound)
		return
	}
	fmt.Fprint(w, entry)
}

func metadataAt(t *testing.T, handler http.Handler) *Metadata {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return NewMetadata(Config{MetadataURL: server.URL})
}

func document(t *testing.T) string {
	t.Helper()
	text, err := json.Marshal(map[string]string{
		"instanceId": "i-0c2d", "region": "eu-west-1", "availabilityZone": "eu-west-1b", "instanceType": "m7g.large",
		"accountId": "123456789012", "architecture": "arm64", "privateIp": "10.0.0.7", "imageId": "ami-1",
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestMetadataTellsWhoTheInstanceIs(t *testing.T) {
	m := metadataAt(t, &fakeMetadata{entries: map[string]string{
		"/latest/dynamic/instance-identity/document":  document(t),
		"/latest/user-data":                           "{\"role\": \"solr\"}\x00",
		"/latest/meta-data/tags/instance/":            "Name\nrole",
		"/latest/meta-data/tags/instance/Name":        "solr-1",
		"/latest/meta-data/tags/instance/role":        "solr",
		"/latest/meta-data/tags/instance/not-in-list": "x",
	}})
	identity, err := m.Identity(t.Context())
	if want := (Identity{"i-0c2d", "eu-west-1", "eu-west-1b", "m7g.large", "123456789012", "arm64", "10.0.0.7", "ami-1"}); err != nil || identity != want {
		t.Errorf("identity %+v: %v", identity, err)
	}
	data, err := m.UserData(t.Context())
	if err != nil || string(data) != "{\"role\": \"solr\"}\x00" {
		t.Errorf("userdata %q: %v", data, err)
	}
	tags, err := m.Tags(t.Context())
	if err != nil || !maps.Equal(tags, map[string]string{"Name": "solr-1", "role": "solr"}) {
		t.Errorf("tags %v: %v", tags, err)
	}
}

func TestMissingMetadataEntriesAreNoError(t *testing.T) {
	m := metadataAt(t, &fakeMetadata{})
	if data, err := m.UserData(t.Context()); data != nil || err != nil {
		t.Errorf("userdata %q: %v", data, err)
	}
	if tags, err := m.Tags(t.Context()); tags != nil || err != nil {
		t.Errorf("tags %v: %v", tags, err)
	}
	_, err := m.Identity(t.Context())
	wantFault(t, err, NotFound)
}

func TestMetadataNeverFallsBackToVersionOne(t *testing.T) {
	for _, status := range []int{403, 404, 405} {
		asked := 0
		m := metadataAt(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut {
				http.Error(w, "", status)
				return
			}
			asked++
			fmt.Fprint(w, document(t)) // version 1 would have answered
		}))
		_, err := m.Identity(t.Context())
		if err == nil || asked > 0 {
			t.Errorf("HTTP %d for the token: %v, asked %d times without", status, err, asked)
		}
	}
}

func TestAbsentMetadataIsReportedWithinTwoSeconds(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes the connection and never answers
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() }) // after what runs in parallel, unlike a defer
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	for name, address := range map[string]string{"silent": silent.Addr().String(), "refused": gone.Addr().String()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := NewMetadata(Config{MetadataURL: "http://" + address})
			begun := time.Now()
			control := make(chan time.Duration)
			go func() { // what two seconds of waiting for nothing take on this machine now
				ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
				defer cancel()
				q, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+silent.Addr().String(), nil)
				_, _ = http.DefaultClient.Do(q)
				control <- time.Since(begun)
			}()
			_, err := m.Identity(context.Background())
			took, most := time.Since(begun), <-control
			fault := wantFault(t, err, Transient)
			if took > most*3/2 {
				t.Errorf("took %s, where two seconds took %s", took, most)
			}
			if !strings.Contains(err.Error(), "the metadata service at http://"+address+" does not answer") || !strings.Contains(fault.hint, "check that metadata is enabled") {
				t.Errorf("%v; %s", err, fault.hint)
			}
		})
	}
}

func TestMetadataAnswersThatMakeNoSense(t *testing.T) {
	for _, body := range []string{"", "<html>", "{}", `{"instanceId": 7}`, strings.Repeat("x", 2<<20)} {
		m := metadataAt(t, &fakeMetadata{entries: map[string]string{"/latest/dynamic/instance-identity/document": body}})
		_, err := m.Identity(t.Context())
		if _, ok := errors.AsType[*Fault](err); !ok || len(err.Error()) > 400 {
			t.Errorf("%.20q: %.200v", body, err)
		}
	}
}

func TestTheRegionComesFromMetadataByDefault(t *testing.T) {
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", t.TempDir()+"/none")
	server := httptest.NewServer(&fakeMetadata{entries: map[string]string{"/latest/dynamic/instance-identity/document": document(t)}})
	defer server.Close()
	client, err := New(t.Context(), Config{MetadataURL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	if region, err := client.Region(t.Context()); region != "eu-west-1" || err != nil {
		t.Errorf("region %q: %v", region, err)
	}
	client, err = New(t.Context(), Config{MetadataURL: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.AttachedVolumes(t.Context(), "i-1")
	if fault := wantFault(t, err, Transient); !strings.Contains(fault.hint, "AWS_REGION") {
		t.Errorf("%v; %s", err, fault.hint)
	}
}
