package ec2

import (
	"context"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
)

// AverageCPU returns the instance's average CPU utilisation in percent during the period over (a multiple of a
// minute) that ends at until. known is false if CloudWatch has no data for it.
// Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricStatistics.html
func (c *Client) AverageCPU(ctx context.Context, instanceID string, until time.Time, over time.Duration) (percent float64, known bool, err error) {
	const op = "GetMetricStatistics"
	doing := "read the CPU utilisation of " + instanceID
	loaded, err := c.serviceConfig(ctx)
	if err != nil {
		return 0, false, Classify(op, err).withDoing(doing)
	}
	retryer := c.retryer(ctx, op)
	out, err := cloudwatch.NewFromConfig(loaded).GetMetricStatistics(ctx, &cloudwatch.GetMetricStatisticsInput{
		Namespace: aws.String("AWS/EC2"), MetricName: aws.String("CPUUtilization"),
		Dimensions: []types.Dimension{{Name: aws.String("InstanceId"), Value: aws.String(instanceID)}},
		StartTime:  aws.Time(until.Add(-over)), EndTime: aws.Time(until), Period: aws.Int32(int32(over.Seconds())),
		Statistics: []types.Statistic{types.StatisticAverage, types.StatisticSampleCount},
	}, func(o *cloudwatch.Options) { o.Retryer = retryer })
	if err != nil {
		fault := retryer.fault(ctx, err).withDoing(doing)
		if strings.HasPrefix(fault.Code, "AccessDenied") || fault.Code == "UnauthorizedOperation" {
			fault.hint = "allow cloudwatch:GetMetricStatistics in the IAM policy of the credentials in use"
		}
		return 0, false, fault
	}
	var sum, samples float64
	for _, p := range out.Datapoints {
		sum, samples = sum+aws.ToFloat64(p.Average)*aws.ToFloat64(p.SampleCount), samples+aws.ToFloat64(p.SampleCount)
	}
	if samples == 0 {
		return 0, false, nil
	}
	return sum / samples, true, nil
}
