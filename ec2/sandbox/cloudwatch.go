package sandbox

import (
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// SetCPU sets what CloudWatch says that an instance's CPU does, in percent. Without it there are no data.
func (w *Sandbox) SetCPU(instanceID string, percent float64) error {
	return w.transact(func(t *tx) error {
		if _, err := t.needInstance(instanceID); err != nil {
			return err
		}
		t.editInstance(instanceID).CPU = &percent
		return nil
	})
}

// metricStatistics answers CloudWatch's GetMetricStatistics for the CPU utilisation of an instance: one point at the
// beginning of the time, as from an instance with basic monitoring (a sample each five minutes).
func (w *Sandbox) metricStatistics(q *query) (*answer, error) {
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
	var out document
	err := w.transact(func(t *tx) error {
		// CloudWatch does not know which instances exist: of one that does not there are no data.
		i := t.instance(q.str("Dimensions.member.1.Value"))
		out.in("Datapoints", func() {
			if i == nil || i.CPU == nil {
				return
			}
			samples := min(until.Sub(from), until.Sub(i.Launched)) / (5 * time.Minute)
			out.in("member", func() {
				out.instant("Timestamp", from)
				out.text("SampleCount", fmt.Sprint(max(1, int(samples))))
				out.text("Average", strconv.FormatFloat(*i.CPU, 'f', -1, 64))
				out.text("Unit", "Percent")
			})
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	var d document
	d.WriteString(`<GetMetricStatisticsResponse xmlns="http://monitoring.amazonaws.com/doc/2010-08-01/"><GetMetricStatisticsResult>`)
	d.Write(out.Bytes())
	d.text("Label", "CPUUtilization")
	d.WriteString(`</GetMetricStatisticsResult>`)
	d.in("ResponseMetadata", func() { d.text("RequestId", q.request) })
	d.WriteString(`</GetMetricStatisticsResponse>`)
	return &answer{status: http.StatusOK, kind: "text/xml", body: d.Bytes()}, nil
}
