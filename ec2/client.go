package ec2

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
)

// DefaultPollMin is the shortest time between two describes of a poller, unless Config says otherwise.
const DefaultPollMin = 200 * time.Millisecond

// Config says where EC2 is and how to talk to it. The zero value is right on an EC2 instance.
type Config struct {
	Region      string // empty: the SDK's own sources (AWS_REGION, profile), then the instance's region from metadata
	EndpointURL string // empty: EC2's own for the region (or AWS_ENDPOINT_URL)
	MetadataURL string // empty: as AWS_EC2_METADATA_SERVICE_ENDPOINT or …_ENDPOINT_MODE say, or http://169.254.169.254
	Profile     string // empty: AWS_PROFILE, or the default one

	// Credentials are static credentials. When ID is empty, the SDK's default chain is used: environment, profile,
	// instance role.
	Credentials Credentials

	// Transport carries the requests to EC2 and to the metadata service. Nil: a pool of kept-alive connections.
	Transport http.RoundTripper

	// Log receives retries, throttling and failed polls at debug level. Nil drops them.
	Log *slog.Logger

	PollMin time.Duration // shortest time between two describes of the poller; 0: DefaultPollMin
	PollMax time.Duration // longest; 0: 5 s
	// SettleWindow is how long a resource that EC2 does not show may still turn up; 0 means 30 s. EC2 is eventually
	// consistent: https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html
	SettleWindow time.Duration

	// PatientUntil is until when errors that are typical of a machine that has just booted, such as AuthFailure,
	// count as transient. Zero means never.
	PatientUntil time.Time

	UserAgent string // added to the SDK's, such as snaptastic/1.0
	PageSize  int32  // results per page of a describe; 0: 1000, EC2's most
}

// Credentials are an access key, and the session token that comes with a temporary one.
type Credentials struct{ ID, Secret, Session string }

// Client talks to EC2 in one region. It is safe for use by many goroutines, and shares calls between them.
type Client struct {
	config   Config
	loaded   aws.Config
	metadata *Metadata
	limiters rateLimiters
	clock    clock
	silence  silence
	cache    volumeCache
	observer *atomic.Pointer[func(Call)] // shared with the clients of other regions

	mu        sync.Mutex
	connected *sdk.Client
	region    string
	abroad    bool // another client made it for a region of its own
	elsewhere regional

	volumeQueries   coalescer[Volume]
	snapshotQueries coalescer[Snapshot]
	snapshotsByIDs  coalescer[Snapshot]
	volumePolls     poller[Volume]
	snapshotPolls   poller[Snapshot]
}

// New makes a client. It reads the AWS configuration files and the environment and sends no request: a missing region
// or missing credentials show at the first call.
func New(ctx context.Context, cfg Config) (*Client, error) {
	cfg = withDefaults(cfg)
	metadata := NewMetadata(cfg)
	loaded, err := load(ctx, cfg, metadata)
	if err != nil {
		return nil, fmt.Errorf("cannot read the AWS configuration: %w", err)
	}
	return newClient(cfg, loaded, metadata), nil
}

func newClient(cfg Config, loaded aws.Config, metadata *Metadata) *Client {
	c := &Client{config: cfg, loaded: loaded, metadata: metadata, region: cfg.Region, observer: &atomic.Pointer[func(Call)]{}}
	if c.region == "" {
		c.region = loaded.Region
	}
	c.volumeQueries.describe = c.describeVolumes
	c.snapshotQueries.describe = c.describeSnapshotsQuery
	c.snapshotsByIDs.describe = func(ctx context.Context, _ string, ids []string) ([]Snapshot, error) {
		return c.describeSnapshots(ctx, SnapshotQuery{IDs: ids})
	}
	c.volumePolls = poller[Volume]{
		describe: func(ctx context.Context, ids []string) ([]Volume, error) {
			return c.describeVolumes(ctx, "volume-id", ids)
		},
		name: func(v Volume) string { return v.ID }, phase: volumePhase,
		min: cfg.PollMin, max: cfg.PollMax, log: cfg.Log,
	}
	c.snapshotPolls = poller[Snapshot]{
		describe: func(ctx context.Context, ids []string) ([]Snapshot, error) {
			return c.describeSnapshots(ctx, SnapshotQuery{IDs: ids})
		},
		name: func(s Snapshot) string { return s.ID }, phase: func(s Snapshot) string { return string(s.State) },
		min: cfg.PollMin, max: cfg.PollMax, log: cfg.Log,
	}
	return c
}

func withDefaults(cfg Config) Config {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.PollMin <= 0 {
		cfg.PollMin = DefaultPollMin
	}
	if cfg.PollMax <= 0 {
		cfg.PollMax = 5 * time.Second
	}
	cfg.PollMax = max(cfg.PollMax, cfg.PollMin)
	if cfg.SettleWindow <= 0 {
		cfg.SettleWindow = 30 * time.Second
	}
	if cfg.PageSize <= 0 {
		cfg.PageSize = 1000
	}
	return cfg
}

// load reads region and credentials. Static credentials bypass the machine's AWS configuration, so that a client of
// the sandbox cannot pick up a real account.
func load(ctx context.Context, cfg Config, metadata *Metadata) (aws.Config, error) {
	if cfg.Credentials.ID != "" {
		fixed := credentials.NewStaticCredentialsProvider(cfg.Credentials.ID, cfg.Credentials.Secret, cfg.Credentials.Session)
		return aws.Config{Credentials: aws.NewCredentialsCache(fixed), HTTPClient: newPooledClient()}, nil
	}
	options := []func(*config.LoadOptions) error{
		config.WithHTTPClient(newPooledClient()), // the SDK adds the roots of AWS_CA_BUNDLE
		config.WithEC2RoleCredentialOptions(func(o *ec2rolecreds.Options) { o.Client = metadata.client }),
	}
	if cfg.Profile != "" {
		options = append(options, config.WithSharedConfigProfile(cfg.Profile))
	}
	if cfg.Region != "" {
		options = append(options, config.WithRegion(cfg.Region))
	}
	return config.LoadDefaultConfig(ctx, options...)
}

// Region returns the client's region. It asks the metadata service when the configuration names none.
func (c *Client) Region(ctx context.Context) (string, error) {
	if _, err := c.connect(ctx); err != nil {
		return "", err
	}
	return c.region, nil
}

// Metadata returns the metadata client that uses the same configuration.
func (c *Client) Metadata() *Metadata { return c.metadata }

// connect makes the SDK's client once the region is known.
func (c *Client) connect(ctx context.Context) (*sdk.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.connected != nil {
		return c.connected, nil
	}
	if c.region == "" {
		identity, err := c.metadata.Identity(ctx)
		if err != nil {
			fault := Classify("GetInstanceIdentityDocument", err).withDoing("determine the AWS region")
			fault.hint = "set the region in the settings file, with --region or in AWS_REGION"
			return nil, fault
		}
		c.region = identity.Region
	}
	loaded := c.loaded
	loaded.Region = c.region
	c.connected = sdk.NewFromConfig(loaded, func(o *sdk.Options) {
		o.Credentials = c.credentials()
		o.HTTPClient = c.httpClient()
		if c.config.EndpointURL != "" {
			o.BaseEndpoint = aws.String(c.config.EndpointURL)
		}
		c.leaveEndpoint(o)
		if c.config.UserAgent != "" {
			o.APIOptions = append(o.APIOptions, awsmiddleware.AddUserAgentKey(c.config.UserAgent))
		}
	})
	return c.connected, nil
}

func (c *Client) httpClient() responseChecker {
	if c.config.Transport != nil {
		return responseChecker{from: clientOver(c.config.Transport), clock: &c.clock}
	}
	return responseChecker{from: c.loaded.HTTPClient, clock: &c.clock}
}

// method is an SDK operation as a method expression, such as (*sdk.Client).CreateVolume. Named like this, and not
// looked up by reflection, the operations that are not used are dropped by the linker: about seven hundred.
type method[In, Out any] func(*sdk.Client, context.Context, *In, ...func(*sdk.Options)) (*Out, error)

// call sends one request, retries it where that is safe, and returns a *Fault that says what the call was for.
func call[In, Out any](ctx context.Context, c *Client, op, doing string, send method[In, Out], in *In) (*Out, error) {
	api, err := c.connect(ctx)
	if err != nil {
		return nil, Classify(op, err)
	}
	if mutates(op) {
		c.cache.invalidate()
		defer c.cache.invalidate()
	}
	retryer := c.retryer(ctx, op)
	out, err := send(api, ctx, in, func(o *sdk.Options) { o.Retryer = retryer })
	if err != nil {
		return nil, c.reclassifyLate(retryer.fault(ctx, err).withDoing(doing))
	}
	return out, nil
}

// retryer makes the retryer of one call.
func (c *Client) retryer(ctx context.Context, op string) *retryer {
	return &retryer{observe: c.observer.Load(), op: op, limiter: c.limiters.of(op), silence: &c.silence, log: c.config.Log, notify: notifierOf(ctx)}
}

// credentialsError marks a failure to get credentials, which the SDK does not tell from other errors.
type credentialsError struct {
	err  error
	late bool // the instance's role may have some soon

	// The last answer of the metadata service, if it was asked for these credentials.
	status  int
	failure error
	token   bool
}

func (e *credentialsError) Error() string { return "no credentials: " + e.err.Error() }
func (e *credentialsError) Unwrap() error { return e.err }

type namedCredentials struct {
	inner aws.CredentialsProvider
	late  bool // they come from the instance's role
}

func (n namedCredentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	if n.inner == nil {
		return aws.Credentials{}, &credentialsError{err: errors.New("none are configured")}
	}
	var last metadataStatus
	found, err := n.inner.Retrieve(context.WithValue(ctx, metadataStatusKey{}, &last))
	if err != nil {
		failed := &credentialsError{err: err, late: n.late}
		failed.status, failed.failure, failed.token = last.last()
		return found, failed
	}
	return found, nil
}
