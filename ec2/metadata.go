package ec2

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
)

const (
	// The time-out of one request, including retries. When the caller retries, it doubles with each attempt.
	metadataTimeout = 1800 * time.Millisecond
	maxMetadataTime = 10 * time.Second
	maxMetadata     = 1 << 20 // bytes of one answer; EC2's userdata has 16 KiB at most
)

// Metadata is a client of the instance metadata service, version 2 only: every request has a session token, and there
// is no fallback to version 1.
// Source: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html
type Metadata struct {
	client *imds.Client
	url    string
}

// Identity is the instance identity document.
type Identity struct {
	InstanceID   string
	Region       string
	Zone         string
	Type         string // such as m7g.large
	AccountID    string
	Architecture string // x86_64 or arm64
	PrivateIP    string
	ImageID      string
}

// NewMetadata makes a client of the metadata service. It sends no request.
func NewMetadata(cfg Config) *Metadata {
	address := cfg.MetadataURL
	if address == "" {
		address = os.Getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT")
	}
	if address == "" && strings.EqualFold(os.Getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"), "IPv6") {
		address = "http://[fd00:ec2::254]"
	}
	if address == "" {
		address = "http://169.254.169.254"
	}
	return &Metadata{url: address, client: imds.New(imds.Options{
		Endpoint: address, HTTPClient: newMetadataHTTP(cfg.Transport), EnableFallback: aws.FalseTernary,
	})}
}

// Identity returns the instance's identity. It fails within two seconds where there is no metadata service.
func (m *Metadata) Identity(ctx context.Context) (Identity, error) {
	var out *imds.GetInstanceIdentityDocumentOutput
	err := m.ask(ctx, "GetInstanceIdentityDocument", "read the instance's identity", func(ctx context.Context) (err error) {
		out, err = m.client.GetInstanceIdentityDocument(ctx, nil)
		return err
	})
	if err != nil {
		return Identity{}, err
	}
	identity := Identity{
		InstanceID: out.InstanceID, Region: out.Region, Zone: out.AvailabilityZone, Type: out.InstanceType,
		AccountID: out.AccountID, Architecture: out.Architecture, PrivateIP: out.PrivateIP, ImageID: out.ImageID,
	}
	if identity.InstanceID == "" || identity.Region == "" {
		fault := invalidRequest("GetInstanceIdentityDocument", "read the instance's identity", "the answer of "+m.url+" names no instance or no region")
		fault.Late = true
		return Identity{}, fault
	}
	return identity, nil
}

// UserData returns the instance's user data unchanged, or nil if it has none.
func (m *Metadata) UserData(ctx context.Context) ([]byte, error) {
	var data []byte
	err := m.ask(ctx, "GetUserData", "read the instance's userdata", func(ctx context.Context) error {
		out, err := m.client.GetUserData(ctx, nil)
		if err != nil {
			return err
		}
		data, err = readAll(out.Content)
		return err
	})
	if isAbsent(err) {
		return nil, nil
	}
	return data, err
}

// Tags returns the instance's tags, or nil if the metadata service does not show them, which is the default (set
// InstanceMetadataTags=enabled).
func (m *Metadata) Tags(ctx context.Context) (map[string]string, error) {
	list, err := m.text(ctx, "tags/instance/")
	if isAbsent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	tags := make(map[string]string)
	for key := range strings.FieldsFuncSeq(list, func(r rune) bool { return r == '\n' }) {
		value, err := m.text(ctx, "tags/instance/"+key)
		if isAbsent(err) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		tags[key] = value
	}
	return tags, nil
}

// text reads one path below latest/meta-data.
func (m *Metadata) text(ctx context.Context, path string) (string, error) {
	var content []byte
	err := m.ask(ctx, "GetMetadata", "read the instance's "+path, func(ctx context.Context) error {
		out, err := m.client.GetMetadata(ctx, &imds.GetMetadataInput{Path: path})
		if err != nil {
			return err
		}
		content, err = readAll(out.Content)
		return err
	})
	return string(content), err
}

// ask bounds one request and converts its error into a Fault.
func (m *Metadata) ask(ctx context.Context, op, doing string, request func(context.Context) error) error {
	var last metadataStatus
	bounded, cancel := context.WithTimeout(context.WithValue(ctx, metadataStatusKey{}, &last), min(metadataTimeout<<min(attemptOf(ctx), 4), maxMetadataTime))
	defer cancel()
	err := request(bounded)
	if err == nil {
		return nil
	}
	fault := &Fault{Op: op, Doing: doing, Late: true, cause: err}
	status, failure, token := last.last()
	switch {
	case ctx.Err() != nil && (!errors.Is(ctx.Err(), context.DeadlineExceeded) || status == 0 && failure == nil):
		return canceled(ctx, op, doing, "")
	case status == http.StatusNotFound && token: // says nothing of the entry
		fault.Class = Transient
		fault.Message = fmt.Sprintf("the metadata service at %s has no session tokens (HTTP 404)", m.url)
		fault.hint = metadataHint
	case status == http.StatusNotFound:
		fault.Class, fault.Message = NotFound, "the metadata service has no such path"
	case status == http.StatusForbidden || status == http.StatusUnauthorized || status == http.StatusMethodNotAllowed:
		fault.Class = Denied
		fault.Message = fmt.Sprintf("the metadata service at %s denies access (HTTP %d)", m.url, status)
		fault.hint = "enable it for the instance: `aws ec2 modify-instance-metadata-options --http-endpoint enabled`"
	case status >= 300:
		fault.Class = Transient
		fault.Message = fmt.Sprintf("the metadata service at %s answers HTTP %d", m.url, status)
	case failure != nil:
		fault.Class = Transient
		if errors.Is(failure, context.DeadlineExceeded) {
			failure = errors.New("no answer in time")
		}
		why := strings.TrimPrefix(rootCause(failure), m.url+": ") // it names the address itself
		fault.Message = fmt.Sprintf("the metadata service at %s does not answer: %s", m.url, why)
		fault.hint = metadataHint
	case status == 0 && strings.Contains(err.Error(), "AWS_EC2_METADATA_DISABLED"):
		fault.Class, fault.Late = Denied, false
		fault.Message = "AWS_EC2_METADATA_DISABLED disables the metadata service"
		fault.hint = "unset it: the instance id comes from instance metadata"
	default:
		fault.Class = Invalid
		fault.Message = fmt.Sprintf("the answer of %s cannot be read: %s", m.url, rootCause(err))
	}
	return fault
}

const metadataHint = "on EC2, check that metadata is enabled (in a container the hop limit must be at least 2); elsewhere, use --sandbox"

func isAbsent(err error) bool {
	fault, ok := errors.AsType[*Fault](err)
	return ok && fault.Class == NotFound
}

func readAll(content io.ReadCloser) ([]byte, error) {
	defer content.Close()
	return io.ReadAll(io.LimitReader(content, maxMetadata))
}

// metadataStatus records the last answer of the service, because the SDK's error for a missing session token hides
// it.
type metadataStatus struct {
	mu     sync.Mutex
	status int
	err    error
	token  bool // it was asked for a session token
}

type metadataStatusKey struct{}

func (h *metadataStatus) last() (status int, err error, token bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.status, h.err, h.token
}

type metadataHTTP struct{ inner *http.Client }

// Do sends one request and records its result.
func (m metadataHTTP) Do(request *http.Request) (*http.Response, error) {
	answer, err := m.inner.Do(request)
	h, ok := request.Context().Value(metadataStatusKey{}).(*metadataStatus)
	if !ok {
		return answer, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.token = request.URL.Path == "/latest/api/token"
	if h.status, h.err = 0, err; err == nil {
		h.status = answer.StatusCode
	}
	return answer, err
}

// newMetadataHTTP returns a client that never uses a proxy: the address is link-local. Where there is no service the
// dial may get no answer, so its time-out is short. An answer can take long while the machine boots.
func newMetadataHTTP(transport http.RoundTripper) metadataHTTP {
	if transport == nil {
		dialer := &net.Dialer{Timeout: 500 * time.Millisecond}
		transport = &http.Transport{DialContext: dialer.DialContext, ResponseHeaderTimeout: maxMetadataTime, IdleConnTimeout: 5 * time.Second}
	}
	return metadataHTTP{&http.Client{Transport: transport}}
}
