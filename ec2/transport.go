package ec2

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

// newPooledClient returns the SDK's HTTP client with enough idle connections for lanes that snapshot at the same
// time. It uses HTTP/1.1 only, as EC2 does: a broken connection loses one request at most.
func newPooledClient() *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().
		WithTimeout(90 * time.Second). // one attempt, its body included
		WithDialerOptions(func(dialer *net.Dialer) {
			dialer.Timeout = 3 * time.Second
			dialer.KeepAlive = 15 * time.Second
		}).
		WithTransportOptions(func(transport *http.Transport) {
			transport.TLSHandshakeTimeout = 5 * time.Second
			transport.ResponseHeaderTimeout = 60 * time.Second
			transport.MaxIdleConns = 128
			transport.MaxIdleConnsPerHost = 64
			transport.IdleConnTimeout = 30 * time.Second
			transport.ForceAttemptHTTP2 = false
		})
}

// clientOver returns a client over the transport that follows no redirect: a signed request must not be sent
// elsewhere.
func clientOver(transport http.RoundTripper) *http.Client {
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// responseChecker accepts a success only if it is EC2's response to the requested action. The SDK parses any other
// document, even an empty one, as a response without content: behind a captive portal an account would seem to have
// no snapshots, and a mount would create an empty volume.
type responseChecker struct {
	from interface {
		Do(*http.Request) (*http.Response, error)
	}
	clock *clock // learns from each answer, a refusal too
}

const maxPreamble = 1024 // bytes before the root element: the XML declaration and white space

func (a responseChecker) Do(request *http.Request) (*http.Response, error) {
	if err := ownBody(request); err != nil {
		return nil, err
	}
	sent := time.Now()
	response, err := a.from.Do(request)
	if err == nil {
		a.clock.observe(response, sent, time.Now())
	}
	if err != nil || response.StatusCode < 200 || response.StatusCode > 299 {
		return response, err
	}
	start := bufio.NewReaderSize(response.Body, maxPreamble)
	text, _ := start.Peek(maxPreamble) // an error shows again when the body is read
	if root := awsmiddleware.GetOperationName(request.Context()) + "Response"; !hasRootElement(text, root) {
		response.Body.Close()
		return nil, &unexpectedResponse{from: request.URL.Host, status: response.StatusCode}
	}
	response.Body = body{start, response.Body}
	return response, nil
}

// ownBody replaces the request's body by a copy that nobody else closes. The SDK closes its own as soon as there is an
// answer (smithy-go, transport/http/client.go), and that one then returns an error instead of its end. net/http looks
// for the end of a body that it does not know after it has sent all of it. A sender that is late, on a busy machine,
// takes the error for a failed write and closes the connection while the answer is read: a snapshot is lost that EC2
// has made. net/http knows a bytes.Reader, and sends it together with the headers.
func ownBody(request *http.Request) error {
	if request.Body == nil || request.Body == http.NoBody {
		return nil
	}
	content, err := io.ReadAll(request.Body)
	if err != nil {
		return err
	}
	request.Body.Close()
	request.Body, request.ContentLength = io.NopCloser(bytes.NewReader(content)), int64(len(content))
	return nil
}

// hasRootElement reports whether the document's root element has the name.
func hasRootElement(text []byte, root string) bool {
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	for {
		text = bytes.TrimSpace(text)
		declaration, rest, ok := bytes.Cut(text, []byte("?>"))
		if !ok || !bytes.HasPrefix(declaration, []byte("<?")) {
			break
		}
		text = rest
	}
	after, ok := bytes.CutPrefix(text, []byte("<"+root))
	return ok && len(after) > 0 && bytes.IndexByte([]byte(" \t\r\n/>"), after[0]) >= 0
}

// body replays the bytes that were peeked at.
type body struct {
	io.Reader
	io.Closer
}

// unexpectedResponse is a success that does not come from EC2 or is incomplete.
type unexpectedResponse struct {
	from   string
	status int
}

func (f *unexpectedResponse) Error() string {
	return fmt.Sprintf("%s answered HTTP %d, but not with an EC2 response", f.from, f.status)
}
