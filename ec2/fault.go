package ec2

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/xml"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Class is the kind of a [Fault]; it tells the caller what to do.
type Class int

const (
	// Throttled: EC2 rejected the request because of its rate. It had no effect; retry later.
	Throttled Class = iota + 1
	// Transient: a temporary failure of EC2 or of the network. It is safe to retry.
	Transient
	// Ambiguous: the request may have taken effect and must not simply be repeated. Only calls without an idempotency
	// token end like this: search for the effect by its tags first.
	Ambiguous
	// SettleLater: the resource is in a transitional state; the same request can succeed later.
	SettleLater
	// NotFound: EC2 does not know the resource, or not yet if it was just created.
	NotFound
	// InUse: the volume, snapshot or device name is in use.
	InUse
	// Limit: a quota is exhausted.
	Limit
	// Denied: the credentials are missing, invalid, or lack a permission.
	Denied
	// RateExceeded: too many snapshots of one volume in a short time; wait for RetryAfter (15 s or more).
	RateExceeded
	// DryRun: the request would have succeeded.
	DryRun
	// Invalid: the request can never succeed in this form.
	Invalid
	// Canceled: the caller's context ended.
	Canceled
)

var classNames = [...]string{"unknown", "throttled", "transient", "ambiguous", "settle-later", "not-found", "in-use",
	"limit", "denied", "rate-exceeded", "dry-run", "invalid", "canceled"}

func (c Class) String() string {
	if c < 0 || int(c) >= len(classNames) {
		c = 0
	}
	return classNames[c]
}

// Fault is the error type of every method of this package that sends a request.
type Fault struct {
	Op         string        // EC2's name of the action, such as CreateVolume
	Doing      string        // the same in words and with names: attach vol-0a1b to i-0c2d as /dev/sdf
	Code       string        // EC2's error code; empty when EC2 did not answer
	Message    string        // what went wrong, in a sentence
	RequestID  string        // EC2's, for a support case
	Class      Class         // what may be done about it
	RetryAfter time.Duration // how long to leave EC2 alone before asking again; 0 when asking again is no use
	Late       bool          // a machine that has just booted may be told so: asked again in a while, it may go well
	repeated   bool          // an attempt before may have had its effect
	hint       string
	cause      error
	before     *Fault // of a context that ended: what the last attempt before that answered; nil for none
	attempts   int    // before that
}

// Error reads "cannot create volume: <message> (<Code>)". The hint is not part of it.
func (f *Fault) Error() string {
	if f.Code == "" {
		return fmt.Sprintf("cannot %s: %s", f.Doing, f.Message)
	}
	return fmt.Sprintf("cannot %s: %s (%s)", f.Doing, f.Message, f.Code)
}

// Throttling reports whether EC2 asked for fewer requests.
func (f *Fault) Throttling() bool { return f.Class == Throttled }

func (f *Fault) Unwrap() error { return f.cause }

// Hint says what to do about it; empty when there is nothing but trying again.
func (f *Fault) Hint() string { return f.hint }

// withDoing returns a copy with another purpose: a merged call failed, and each caller wants its own message.
func (f *Fault) withDoing(doing string) *Fault {
	other := *f
	other.Doing = doing
	return &other
}

// ClassOf returns the class of the fault in err's chain, or 0.
func ClassOf(err error) Class {
	if fault, ok := errors.AsType[*Fault](err); ok {
		return fault.Class
	}
	return 0
}

// Classify converts an error that the SDK returned for the action op into a Fault. Nil stays nil, and a Fault is
// returned unchanged.
func Classify(op string, err error) *Fault {
	if err == nil {
		return nil
	}
	if fault, ok := errors.AsType[*Fault](err); ok {
		return fault
	}
	fault := &Fault{Op: op, Doing: actionWords(op), cause: err}
	if answer, ok := errors.AsType[*awshttp.ResponseError](err); ok {
		fault.RequestID = answer.RequestID
	}
	if missing, ok := errors.AsType[*credentialsError](err); ok {
		classifyCredentials(fault, missing)
	} else if answer, ok := errors.AsType[smithy.APIError](err); ok && answer.ErrorCode() != "UnknownError" {
		classifyAnswer(fault, answer.ErrorCode(), answer.ErrorMessage())
	} else if isCanceled(err) {
		classifyCanceled(fault, err)
	} else if answer, ok := errors.AsType[*smithyhttp.ResponseError](err); ok && answer.HTTPStatusCode() > 0 {
		classifyUnreadable(fault, answer)
	} else {
		classifyConnection(fault, err)
	}
	if fault.RetryAfter == 0 {
		fault.RetryAfter = pause[fault.Class]
	}
	return fault
}

// pause is the minimum delay before a caller's own retry, by class.
var pause = map[Class]time.Duration{
	Throttled:    2 * time.Second,
	Transient:    time.Second,
	SettleLater:  2 * time.Second,
	RateExceeded: 15 * time.Second,
}

// sentOnce are the actions that create something each time they are sent and take no client token.
var sentOnce = map[string]bool{
	"CreateSnapshot": true, "CreateSnapshots": true, "CopySnapshot": true, "CreateImage": true,
}

func classifyCredentials(fault *Fault, missing *credentialsError) {
	fault.Message = "no usable AWS credentials: " + rootCause(missing.err)
	if errors.Is(missing.err, context.Canceled) {
		fault.Class = Canceled
		return
	}
	fault.Class, fault.Late = Denied, missing.late
	fault.hint = "attach a role to the instance, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
	if !missing.late {
		return
	}
	switch {
	case missing.failure != nil || errors.Is(missing.err, context.DeadlineExceeded):
		fault.Class, fault.Message = Transient, "no usable AWS credentials: the metadata service does not answer"
		fault.hint = metadataHint
	case missing.status == http.StatusNotFound && !missing.token:
		fault.Message = "no usable AWS credentials: the instance has no role"
	case missing.status >= 300:
		fault.Message = fmt.Sprintf("no usable AWS credentials: the metadata service answers HTTP %d", missing.status)
		if missing.status >= 500 {
			fault.Class = Transient
		}
	}
}

// classifyAnswer classifies an error answer of EC2.
func classifyAnswer(fault *Fault, code, message string) {
	code = strings.TrimPrefix(strings.TrimPrefix(code, "Client."), "Server.")
	fault.Code = code
	// A denied request carries a kilobyte that only sts:DecodeAuthorizationMessage can decode.
	message, _, _ = strings.Cut(message, "Encoded authorization failure message:")
	fault.Message = strings.TrimRight(strings.TrimSpace(message), ".")
	if fault.Message == "" {
		fault.Message = "EC2 gave no reason"
	}
	fault.Class = classOfCode(fault.Op, code, fault.Message)
	if fault.Class == Transient && sentOnce[fault.Op] {
		fault.Class = Ambiguous
	}
	fault.Late = isLateCode(code)
	fault.hint = hintFor(fault)
}

// classifyCanceled classifies the end of the context. A request that was already sent may have taken effect.
func classifyCanceled(fault *Fault, err error) {
	fault.Class = Canceled
	fault.Message = "canceled"
	if errors.Is(err, context.DeadlineExceeded) {
		fault.Message = "timed out"
	}
	_, sent := errors.AsType[*smithy.CanceledError](err)
	if sent && sentOnce[fault.Op] {
		fault.Class = Ambiguous
		fault.Message += " after the request was sent; it may have taken effect"
	}
}

// classifyUnreadable classifies an answer that is not in EC2's format.
func classifyUnreadable(fault *Fault, answer *smithyhttp.ResponseError) {
	status := answer.HTTPStatusCode()
	_, torn := errors.AsType[*xml.SyntaxError](answer)
	switch {
	case status >= 500:
		fault.Class = Transient
		fault.Message = fmt.Sprintf("the endpoint answered HTTP %d without a reason", status)
	case status >= 300:
		fault.Class = Invalid
		fault.Message = fmt.Sprintf("the endpoint answered HTTP %d, which is not an EC2 response", status)
		fault.hint = endpointHint
	default:
		fault.Class = Transient
		fault.Message = "the answer cannot be read: " + rootCause(answer)
		if torn {
			fault.Message = "the answer is truncated or not from EC2"
		}
		fault.hint = endpointHint
	}
	if sentOnce[fault.Op] && fault.Class == Transient {
		fault.Class = Ambiguous
		fault.Message += "; the request may have taken effect"
	}
}

// classifyConnection classifies a request that got no answer.
func classifyConnection(fault *Fault, err error) {
	_, sending := errors.AsType[*smithyhttp.RequestSendError](err)
	_, reading := errors.AsType[*smithy.DeserializationError](err)
	fault.Message = rootCause(err)
	switch {
	case isUntrusted(err):
		fault.Class, fault.Late = Invalid, true // the clock may not be set yet
		fault.hint = "check the endpoint URL, the machine's clock and its CA certificates"
	case isUnexpectedResponse(err):
		fault.Class = Transient
		fault.hint = endpointHint
		if sentOnce[fault.Op] {
			fault.Class = Ambiguous
		}
	case isUnsent(err):
		fault.Class = Transient
		fault.Message = "the endpoint cannot be reached: " + fault.Message
		fault.hint = "check the region, the endpoint URL and the network path (security group, NAT gateway or VPC endpoint)"
	case (sending || reading) && sentOnce[fault.Op]:
		fault.Class = Ambiguous
		fault.Message = "no response (" + fault.Message + "); the request may have taken effect"
	case sending || reading:
		fault.Class = Transient
		fault.Message = "no response: " + fault.Message
	default:
		fault.Class = Invalid
	}
}

func isCanceled(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) && !isTimeout(err)
}

// isTimeout reports whether the HTTP client's own time-out ended the request, and not the caller's context.
func isTimeout(err error) bool {
	_, sending := errors.AsType[*smithyhttp.RequestSendError](err)
	return sending
}

const endpointHint = "check the endpoint URL and the proxy settings (HTTPS_PROXY, NO_PROXY)"

func isUnexpectedResponse(err error) bool {
	_, foreign := errors.AsType[*unexpectedResponse](err)
	return foreign
}

// isUnsent reports whether the connection failed, so that nothing was sent.
func isUnsent(err error) bool {
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return true
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && (op.Op == "dial" || op.Op == "proxyconnect") {
		return true
	}
	return false
}

// isUntrusted reports a failed TLS handshake that a retry will not fix.
func isUntrusted(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return true
	}
	_, ok := errors.AsType[x509.UnknownAuthorityError](err)
	return ok
}

// rootCause returns the innermost error of an SDK error chain, with the URL.
func rootCause(err error) string {
	if at, ok := errors.AsType[*url.Error](err); ok {
		address := at.URL
		if parsed, bad := url.Parse(at.URL); bad == nil {
			address = parsed.Scheme + "://" + parsed.Host
		}
		return address + ": " + at.Err.Error()
	}
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}

// actionWords splits an action into words: DescribeVolumes becomes "describe volumes".
func actionWords(op string) string {
	var words strings.Builder
	for i, letter := range op {
		if i > 0 && letter >= 'A' && letter <= 'Z' {
			words.WriteByte(' ')
		}
		words.WriteRune(letter)
	}
	return strings.ToLower(words.String())
}
