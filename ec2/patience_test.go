package ec2

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func responseWith(r *http.Request, status int) *http.Response {
	h := http.Header{}
	h.Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "300")
	return &http.Response{StatusCode: status, Status: fmt.Sprint(status), Header: h, Body: http.NoBody, Request: r, ContentLength: 0,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
}

// slowMetadata is a metadata service that misbehaves at the first requests of some paths.
type slowMetadata struct {
	t     *testing.T
	path  string // part of it; "" for all
	times int    // how often it misbehaves; -1 for ever
	wrong func(*http.Request) (*http.Response, error)
	asked int
}

func (l *slowMetadata) RoundTrip(r *http.Request) (*http.Response, error) {
	l.asked++
	if strings.Contains(r.URL.Path, l.path) && l.times != 0 {
		l.times--
		return l.wrong(r)
	}
	ok := responseWith(r, 200)
	if r.Method != http.MethodPut && r.Header.Get("X-Aws-Ec2-Metadata-Token") != "session" {
		return responseWith(r, http.StatusUnauthorized), nil
	}
	text := map[string]string{"/latest/api/token": "session", "/latest/dynamic/instance-identity/document": document(l.t),
		"/latest/meta-data/iam/security-credentials/":     "role",
		"/latest/meta-data/iam/security-credentials/role": `{"Code":"Success","AccessKeyId":"AKIA","SecretAccessKey":"s","Token":"t","Expiration":"2100-01-01T00:00:00Z"}`,
	}[r.URL.Path]
	if text == "" {
		ok.StatusCode = 404
	}
	ok.Body = io.NopCloser(strings.NewReader(text))
	return ok, nil
}

func respondWith(status int) func(*http.Request) (*http.Response, error) {
	return func(r *http.Request) (*http.Response, error) { return responseWith(r, status), nil }
}

func respondAfter(d time.Duration, then func(*http.Request) (*http.Response, error)) func(*http.Request) (*http.Response, error) {
	return func(r *http.Request) (*http.Response, error) {
		select {
		case <-time.After(d):
			if then == nil {
				return nil, errors.New("connection reset by peer")
			}
			return then(r)
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
}

func respondText(body string) func(*http.Request) (*http.Response, error) {
	return func(r *http.Request) (*http.Response, error) {
		ok := responseWith(r, 200)
		ok.Body = io.NopCloser(strings.NewReader(body))
		return ok, nil
	}
}

// slowStarts is all that a metadata service may do before it is itself.
var slowStarts = []struct {
	name  string
	wrong func(*http.Request) (*http.Response, error)
}{
	{"hangs", respondAfter(time.Hour, nil)},
	{"hangs for 3 s", respondAfter(3*time.Second, respondWith(500))},
	{"is refused", func(*http.Request) (*http.Response, error) { return nil, errors.New("connect: connection refused") }},
	{"says 400", respondWith(400)}, {"says 401", respondWith(401)}, {"says 403", respondWith(403)}, {"says 404", respondWith(404)}, {"says 405", respondWith(405)},
	{"says 429", respondWith(429)}, {"says 500", respondWith(500)}, {"says 503", respondWith(503)},
	{"says nothing", respondText("")}, {"says garbage", respondText("<html>")}, {"says half of it", respondText(`{"instanceId": "i-`)}, {"says no instance", respondText("{}")},
}

func TestASlowMetadataServiceIsWaitedFor(t *testing.T) {
	for _, path := range []string{"api/token", "instance-identity", ""} {
		for _, c := range slowStarts {
			t.Run(path+" "+c.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					l := &slowMetadata{t: t, path: path, times: 12, wrong: c.wrong}
					m := NewMetadata(Config{Transport: l, MetadataURL: "http://metadata.invalid"})
					var told []string
					p := Patience{Until: time.Now().Add(5 * time.Minute), Notify: func(f *Fault, left time.Duration) { told = append(told, fmt.Sprint(f.Message, "; ", left)) }}
					var id Identity
					err := p.Retry(t.Context(), func(ctx context.Context) (err error) {
						id, err = m.Identity(ctx)
						return err
					})
					if err != nil || id.InstanceID != "i-0c2d" || len(told) == 0 {
						t.Errorf("%+v: %v; told %q", id, err, told)
					}
				})
			})
		}
	}
}

// What never comes is waited for to the end, with a line every 15 s, and then said.
func TestARetryEndsAtItsDeadlineWithTheLastError(t *testing.T) {
	for _, c := range slowStarts {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := NewMetadata(Config{Transport: &slowMetadata{t: t, times: -1, wrong: c.wrong}, MetadataURL: "http://metadata.invalid"})
				told, begun := 0, time.Now()
				p := Patience{Until: begun.Add(5 * time.Minute), Notify: func(f *Fault, left time.Duration) { told++ }}
				err := p.Retry(t.Context(), func(ctx context.Context) error { _, err := m.Identity(ctx); return err })
				took := time.Since(begun)
				if err == nil || !strings.Contains(err.Error(), "retried for 5 min") || took < 5*time.Minute || took > 5*time.Minute+2*time.Second {
					t.Errorf("after %s: %v", took, err)
				}
				if told < 19 || told > 21 {
					t.Errorf("told %d times in 5 min", told)
				}
			})
		})
	}
}

// noEnvironment leaves the instance's role as the only source of credentials.
func noEnvironment(t *testing.T) {
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", t.TempDir()+"/none")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", t.TempDir()+"/none")
}

func TestLateRoleCredentialsAreWaitedFor(t *testing.T) {
	noEnvironment(t)
	for _, path := range []string{"api/token", "security-credentials/", "security-credentials/role"} {
		for _, c := range slowStarts {
			t.Run(path+" "+c.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					l := &slowMetadata{t: t, path: path, times: 12, wrong: c.wrong}
					client, err := New(t.Context(), Config{Transport: l, MetadataURL: "http://metadata.invalid", Region: "eu-west-1"})
					if err != nil {
						t.Fatal(err)
					}
					once := client.Ready(t.Context())
					if fault, ok := errors.AsType[*Fault](once); !ok || !fault.IsTemporary() {
						t.Errorf("asked once: %v; want a fault that passes", once)
					}
					if err := (Patience{Until: time.Now().Add(5 * time.Minute)}).Retry(t.Context(), client.Ready); err != nil {
						t.Error(err)
					}
				})
			})
		}
	}
}

func TestADefiniteRefusalIsNotAskedAgain(t *testing.T) {
	for _, err := range []error{
		&Fault{Class: Denied, Code: "UnauthorizedOperation"}, &Fault{Class: Denied, Code: "SignatureDoesNotMatch"}, &Fault{Class: Invalid},
		errors.New("no fault"), &Fault{Class: NotFound},
	} {
		asked := 0
		got := Patience{Until: time.Now().Add(time.Hour)}.Retry(t.Context(), func(context.Context) error { asked++; return err })
		if asked != 1 || !errors.Is(got, err) {
			t.Errorf("%v: asked %d times, %v", err, asked, got)
		}
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	m := NewMetadata(Config{MetadataURL: "http://127.0.0.1:1"})
	err := Patience{Until: time.Now().Add(time.Hour)}.Retry(t.Context(), func(ctx context.Context) error { _, err := m.Identity(ctx); return err })
	if ClassOf(err) != Denied || !strings.Contains(err.Error(), "AWS_EC2_METADATA_DISABLED") {
		t.Error(err)
	}
}

func TestCancelEndsARetryAtOnce(t *testing.T) {
	for _, wrong := range []func(*http.Request) (*http.Response, error){respondAfter(time.Hour, nil), respondWith(503)} { // in a try, and between two
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(30*time.Second, cancel)
			begun := time.Now()
			m := NewMetadata(Config{Transport: &slowMetadata{t: t, times: -1, wrong: wrong}, MetadataURL: "http://metadata.invalid"})
			err := Patience{Until: begun.Add(5 * time.Minute)}.Retry(ctx, func(ctx context.Context) error { _, err := m.Identity(ctx); return err })
			if !errors.Is(err, context.Canceled) || time.Since(begun) != 30*time.Second {
				t.Errorf("after %s: %v", time.Since(begun), err)
			}
		})
	}
}

// Without patience, or after it is used up, a question is asked once; one that hangs ends all the same.
func TestASingleAttemptDoesNotHang(t *testing.T) {
	for _, until := range []time.Duration{0, -time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			begun := time.Now()
			err := Patience{Until: begun.Add(until)}.Retry(t.Context(), func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
			if took := time.Since(begun); took != baseTimeout || ClassOf(err) != Transient || !strings.Contains(err.Error(), "no response") {
				t.Errorf("after %s: %v", took, err)
			}
		})
	}
}

// IAM is eventually consistent, and the clock of a machine that boots may not be set yet.
func TestRejectedCredentialsAreTemporaryUntilPatientUntil(t *testing.T) {
	for _, code := range []string{"AuthFailure", "InvalidClientTokenId", "RequestExpired", "ExpiredToken", "UnrecognizedClientException", "SignatureDoesNotMatch", "UnauthorizedOperation"} {
		definite := code == "SignatureDoesNotMatch" || code == "UnauthorizedOperation"
		for _, patient := range []time.Duration{0, time.Hour} {
			client := always(errorAnswer(400, code, "no")).client(t, func(c *Config) { c.PatientUntil = time.Now().Add(patient) })
			_, err := client.AttachedVolumes(t.Context(), "i-1")
			fault, _ := errors.AsType[*Fault](err)
			want := Denied
			if patient > 0 && !definite {
				want = Transient
			}
			if fault == nil || fault.Class != want || fault.Late == definite || fault.Code != code {
				t.Errorf("%s, patient for %s: %v, class %s, late %t", code, patient, err, ClassOf(err), fault != nil && fault.Late)
			}
		}
	}
}
