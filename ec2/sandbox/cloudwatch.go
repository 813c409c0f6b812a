package sandbox

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/smithy-go/encoding/cbor"
)

// SetCPU sets the CPU utilisation in percent that CloudWatch reports for an instance. Without it there is no data.
func (w *Sandbox) SetCPU(instanceID string, percent float64) error {
	return w.transact(func(t *tx) error {
		if _, err := t.needInstance(instanceID); err != nil {
			return err
		}
		t.editInstance(instanceID).CPU = &percent
		return nil
	})
}

// cloudWatchPath is where the SDK asks CloudWatch: its protocol is Smithy's RPC v2 over CBOR
// (https://smithy.io/2.0/additional-specs/protocols/smithy-rpc-v2.html).
const cloudWatchPath = "/service/GraniteServiceVersion20100801/operation/"

// cloudWatchForm reads a request as if it were one of the Query protocol.
func cloudWatchForm(r *http.Request) (url.Values, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return nil, err
	}
	request, err := cbor.Decode(body)
	form := url.Values{"Action": {strings.TrimPrefix(r.URL.Path, cloudWatchPath)}}
	flatten(form, "", request)
	return form, err
}

func flatten(form url.Values, name string, value cbor.Value) {
	switch v := value.(type) {
	case cbor.Map:
		for key, member := range v {
			flatten(form, strings.TrimPrefix(name+"."+key, "."), member)
		}
	case cbor.List:
		for n, member := range v {
			flatten(form, fmt.Sprintf("%s.member.%d", name, n+1), member)
		}
	case *cbor.Tag: // 1: seconds since 1970
		if seconds, ok := v.Value.(cbor.Float64); ok {
			form.Set(name, time.UnixMilli(int64(seconds*1000)).UTC().Format(time.RFC3339))
		}
	default:
		form.Set(name, fmt.Sprint(v))
	}
}

func cloudWatchAnswer(status int, content cbor.Map) *answer {
	return &answer{status: status, kind: "application/cbor", header: http.Header{"Smithy-Protocol": {"rpc-v2-cbor"}}, body: cbor.Encode(content)}
}

// metricStatistics answers CloudWatch's GetMetricStatistics for the CPU utilisation of an instance: one point at the
// beginning of the time, as from an instance with basic monitoring (a sample each five minutes).
func (w *Sandbox) metricStatistics(in World, q *query) (*answer, error) {
	const known = "Namespace! MetricName! StartTime!:time EndTime!:time Period!:int Dimensions.member.N.Name Dimensions.member.N.Value Statistics.member.N"
	if err := q.check(known); err != nil {
		return nil, err
	}
	if q.str("Namespace") != "AWS/EC2" || q.str("MetricName") != "CPUUtilization" || q.str("Dimensions.member.1.Name") != "InstanceId" {
		return nil, refuse("InvalidParameterValue", "The sandbox measures nothing but the CPUUtilization of an instance.")
	}
	from, until := q.instant("StartTime"), q.instant("EndTime")
	if period := q.int("Period"); !from.Before(until) || period < 60 || period%60 != 0 {
		return nil, refuse("InvalidParameterValue", "The parameters StartTime, EndTime and Period do not go together.")
	}
	points := cbor.List{}
	err := w.transactIn(in, func(t *tx) error {
		// CloudWatch does not know which instances exist: of one that does not there are no data.
		if i := t.instance(q.str("Dimensions.member.1.Value")); i != nil && i.CPU != nil {
			samples := min(until.Sub(from), until.Sub(i.Launched)) / (5 * time.Minute)
			points = cbor.List{cbor.Map{"SampleCount": cbor.Float64(max(1, samples)), "Average": cbor.Float64(*i.CPU)}}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return cloudWatchAnswer(http.StatusOK, cbor.Map{"Label": cbor.String("CPUUtilization"), "Datapoints": points}), nil
}
