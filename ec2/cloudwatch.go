package ec2

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/smithy-go"
)

// Only one CloudWatch action is used, so the request is made by hand with the Query protocol and the SDK's signer:
// the SDK's CloudWatch client would add 250 KB and a dependency.
// Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricStatistics.html

const maxStatistics = 1 << 20 // bytes of an answer

type statistics struct {
	Points []struct {
		Average     float64
		SampleCount float64
	} `xml:"GetMetricStatisticsResult>Datapoints>member"`
}

type statisticsError struct {
	Code    string `xml:"Error>Code"`
	Message string `xml:"Error>Message"`
}

// AverageCPU returns the instance's average CPU utilisation in percent during the period over (a multiple of a
// minute) that ends at until. known is false if CloudWatch has no data for it.
func (c *Client) AverageCPU(ctx context.Context, instanceID string, until time.Time, over time.Duration) (percent float64, known bool, err error) {
	doing := "read the CPU utilisation of " + instanceID
	const layout = "2006-01-02T15:04:05Z"
	form := url.Values{
		"Action": {"GetMetricStatistics"}, "Version": {"2010-08-01"},
		"Namespace": {"AWS/EC2"}, "MetricName": {"CPUUtilization"},
		"Dimensions.member.1.Name": {"InstanceId"}, "Dimensions.member.1.Value": {instanceID},
		"StartTime": {until.Add(-over).UTC().Format(layout)}, "EndTime": {until.UTC().Format(layout)},
		"Period": {strconv.Itoa(int(over.Seconds()))}, "Statistics.member.1": {"Average"}, "Statistics.member.2": {"SampleCount"},
	}
	var answer statistics
	for try := 1; ; try++ {
		fault := c.askCloudWatch(ctx, form, &answer)
		if fault == nil {
			break
		}
		if try == maxAttempts || fault.Class != Throttled && fault.Class != Transient {
			return 0, false, fault.withDoing(doing)
		}
		wait := min(maxRetryDelay, baseRetryDelay<<try)
		select {
		case <-time.After(wait/2 + rand.N(wait/2)):
		case <-ctx.Done():
			return 0, false, fault.withDoing(doing)
		}
	}
	var sum, samples float64
	for _, p := range answer.Points {
		sum, samples = sum+p.Average*p.SampleCount, samples+p.SampleCount
	}
	if samples == 0 {
		return 0, false, nil
	}
	return sum / samples, true, nil
}

// askCloudWatch sends one request.
func (c *Client) askCloudWatch(ctx context.Context, form url.Values, into *statistics) *Fault {
	const op = "GetMetricStatistics"
	if _, err := c.connect(ctx); err != nil { // it finds the region
		return Classify(op, err)
	}
	body := form.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.cloudWatchURL(), strings.NewReader(body))
	if err != nil {
		return invalidRequest(op, actionWords(op), err.Error())
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	keys, err := c.credentials().Retrieve(ctx)
	if err != nil {
		return Classify(op, err)
	}
	skew, _ := c.clock.read() // CloudWatch's clock is EC2's
	digest := sha256.Sum256([]byte(body))
	if err := v4.NewSigner().SignHTTP(ctx, keys, request, hex.EncodeToString(digest[:]), "monitoring", c.region, time.Now().Add(skew)); err != nil {
		return invalidRequest(op, "sign the request", err.Error())
	}
	answer, err := c.httpClient().from.Do(request)
	if err != nil {
		return &Fault{Op: op, Doing: actionWords(op), Class: Transient, Message: "no answer came back: " + rootCause(err), cause: err}
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxStatistics))
	switch {
	case err != nil:
		return &Fault{Op: op, Doing: actionWords(op), Class: Transient, Message: "the answer was cut short", cause: err}
	case answer.StatusCode != http.StatusOK:
		return cloudWatchRefusal(op, answer.StatusCode, text)
	case !hasRootElement(text, op+"Response") || xml.Unmarshal(text, into) != nil:
		return &Fault{Op: op, Doing: actionWords(op), Class: Invalid, Message: request.URL.Host + " did not answer as CloudWatch does", Hint: endpointHint}
	}
	return nil
}

func cloudWatchRefusal(op string, status int, text []byte) *Fault {
	var refusal statisticsError
	if xml.Unmarshal(text, &refusal) != nil || refusal.Code == "" {
		class := Invalid
		if status >= 500 {
			class = Transient
		}
		return &Fault{Op: op, Doing: actionWords(op), Class: class, Message: fmt.Sprintf("CloudWatch answered HTTP %d without saying why", status)}
	}
	fault := Classify(op, &smithy.GenericAPIError{Code: refusal.Code, Message: refusal.Message})
	if strings.HasPrefix(refusal.Code, "AccessDenied") || refusal.Code == "UnauthorizedOperation" {
		fault.Hint = "allow cloudwatch:GetMetricStatistics in the IAM policy of the credentials in use"
	}
	return fault
}

// cloudWatchURL returns the region's endpoint, or the local endpoint that serves all services. An Amazon endpoint URL
// serves EC2 only.
func (c *Client) cloudWatchURL() string {
	local := cmp.Or(c.config.EndpointURL, os.Getenv("AWS_ENDPOINT_URL"))
	if named := os.Getenv("AWS_ENDPOINT_URL_CLOUDWATCH"); named != "" && c.config.EndpointURL == "" {
		return named
	}
	at, err := url.Parse(local)
	if local != "" && err == nil && !strings.Contains(at.Host, "amazonaws.com") {
		return local
	}
	domain := "amazonaws.com"
	if strings.HasPrefix(c.region, "cn-") {
		domain += ".cn"
	}
	return "https://monitoring." + c.region + "." + domain + "/"
}
