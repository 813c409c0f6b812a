package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"
)

// The keys that the sandbox's clients sign with; it checks no signature.
const (
	accessKey = "AKIASANDBOX000000000"
	secretKey = "sandbox"
)

var processID = os.Getpid()

// maxBody bounds a request's body; EC2's own bound is lower.
const maxBody = 1 << 20

// respond answers a request of any service. Its error means that the
// connection ends without an answer.
func (w *Sandbox) respond(r *http.Request) (*answer, error) {
	if strings.HasPrefix(r.URL.Path, "/latest") {
		return w.loggedMetadata(r)
	}
	read := readForm
	if strings.HasPrefix(r.URL.Path, cloudWatchPath) {
		read = cloudWatchForm
	} else if r.URL.Path != "/" && r.URL.Path != "" {
		return ec2Refusal(asRefusal(refuse("InvalidAction", "There is nothing at %s", r.URL.Path)), "sandbox"), nil
	}
	form, err := read(r)
	if err != nil {
		return ec2Refusal(asRefusal(refuse("MalformedQueryString", "Cannot parse the request: %v", err)), "sandbox"), nil
	}
	authorization := r.Header.Get("Authorization")
	if authorization == "" {
		if authorization = form.Get("X-Amz-Credential"); authorization != "" { // a presigned URL
			authorization = "Credential=" + authorization
		}
	}
	return w.api(r.Context(), form, authorization)
}

// readForm reads the parameters of a POST's body and of the address.
func readForm(r *http.Request) (url.Values, error) {
	form := r.URL.Query()
	if r.Body == nil {
		return form, nil
	}
	defer r.Body.Close()
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxBody {
		return nil, errors.New("the request is too large")
	}
	posted, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	maps.Copy(form, posted)
	return form, nil
}

func (w *Sandbox) loggedMetadata(r *http.Request) (*answer, error) {
	call := Call{Time: time.Now(), Service: "imds", Action: r.Method + " " + r.URL.Path, Process: processID, World: w.here.key()}
	reply, err := w.withFaults(r.Context(), &query{values: map[string]string{"Path": r.URL.Path}}, &call, func() (*answer, error) { return w.metadata(r) })
	if reply != nil && reply.status != http.StatusOK {
		call.Result = fmt.Sprint(reply.status)
	}
	call.Millis = float64(time.Since(call.Time).Microseconds()) / 1000
	w.log.add(call)
	return reply, err
}

// headers completes an answer's headers.
func (a *answer) headers() http.Header {
	h := a.header.Clone()
	if h == nil {
		h = http.Header{}
	}
	h.Set("Content-Type", a.kind)
	h.Set("Date", time.Now().Add(a.skew).UTC().Format(http.TimeFormat))
	h.Set("Server", "snaptastic-sandbox")
	return h
}

// Handler serves EC2 and STS at / and IMDSv2 below /latest/, only to clients that address it by its own host name.
func (w *Sandbox) Handler() http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if why := w.refuseForeign(r); why != "" {
			http.Error(rw, why, http.StatusMisdirectedRequest)
			return
		}
		reply, err := w.respond(r)
		if err != nil {
			drop(rw)
			return
		}
		maps.Copy(rw.Header(), reply.headers())
		rw.WriteHeader(reply.status)
		rw.Write(reply.body) // the client may have gone
	})
}

// drop resets the connection: with a linger of 0, closing it sends a RST.
func drop(rw http.ResponseWriter) {
	connection, _, err := http.NewResponseController(rw).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := connection.(*net.TCPConn); ok {
		tcp.SetLinger(0) // at worst the client sees an end of file
	}
	connection.Close()
}

// RoundTripper answers requests in the caller's goroutine: no socket, nothing
// in the background, fit for testing/synctest.
func (w *Sandbox) RoundTripper() http.RoundTripper { return roundTripper{w} }

type roundTripper struct{ w *Sandbox }

// RoundTrip implements http.RoundTripper.
func (t roundTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	reply, err := t.w.respond(r)
	if errors.Is(err, errConnectionReset) {
		return nil, &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)}
	}
	if err != nil {
		return nil, err
	}
	return &http.Response{
		Status: fmt.Sprintf("%d %s", reply.status, http.StatusText(reply.status)), StatusCode: reply.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: reply.headers(),
		Body: io.NopCloser(bytes.NewReader(reply.body)), ContentLength: int64(len(reply.body)), Request: r,
	}, nil
}

// Server is a Sandbox that listens on loopback.
type Server struct {
	Sandbox *Sandbox
	http    *http.Server
	url     string
	done    chan struct{}
}

// Serve opens the sandbox and serves it at addr, such as 127.0.0.1:0, until Close or the end of ctx. Only loopback
// addresses are accepted: the sandbox checks no signature.
func Serve(ctx context.Context, cfg Config, addr string) (*Server, error) {
	fail := func(err error) (*Server, error) { return nil, fmt.Errorf("cannot serve the sandbox: %w", err) }
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fail(err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fail(fmt.Errorf("%s is not a loopback address", addr))
	}
	world, err := Open(cfg)
	if err != nil {
		return fail(err)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return fail(errors.Join(err, world.Close()))
	}
	s := &Server{Sandbox: world, url: "http://" + listener.Addr().String(), done: make(chan struct{})}
	s.http = &http.Server{Handler: world.Handler(), ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	stop := context.AfterFunc(ctx, func() { s.http.Close() })
	go func() {
		defer close(s.done)
		defer stop()
		s.http.Serve(listener) // ends with ErrServerClosed
	}()
	return s, nil
}

// URL is the endpoint of every service.
func (s *Server) URL() string { return s.url }

// Environment points any AWS client at the sandbox.
func (s *Server) Environment() []string { return EnvironmentIn(s.url, s.Sandbox.here) }

// EnvironmentIn points any AWS client at an account and region of the sandbox served at endpoint.
func EnvironmentIn(endpoint string, in World) []string {
	return []string{
		"AWS_ENDPOINT_URL=" + endpoint,
		"AWS_EC2_METADATA_SERVICE_ENDPOINT=" + endpoint,
		"AWS_REGION=" + in.Region,
		"AWS_DEFAULT_REGION=" + in.Region,
		"AWS_ACCESS_KEY_ID=" + in.AccessKey(),
		"AWS_SECRET_ACCESS_KEY=" + secretKey,
	}
}

// Done is closed when the server has stopped.
func (s *Server) Done() <-chan struct{} { return s.done }

// Close stops the server at once and closes the sandbox.
func (s *Server) Close() error {
	err := s.http.Close()
	<-s.done
	return errors.Join(err, s.Sandbox.Close())
}
