package flow

import "time"

// EC2 allows 100 requests of CreateSnapshots at once, and 5 more each second, in an account and region
// (https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html). It does not say that it does not count dry runs.
// A host makes two requests: one when it prepares, which is a dry run, and one at its instant.
const (
	// MostInOneWindow is how many hosts may freeze at one instant: it leaves some requests to others.
	MostInOneWindow = 80
	refill          = 5 // a second
	perRequest      = time.Second / refill
)

// A bucket is EC2's, less what it leaves to others: all that is known of it is when it will be full.
type bucket struct{ full time.Time }

// has is when there are so many requests in it.
func (b bucket) has(n int) time.Time {
	return b.full.Add(-perRequest * time.Duration(MostInOneWindow-n))
}

// took is the bucket once so many were made, the last of them at that time.
func (b bucket) took(n int, at time.Time) bucket {
	return bucket{later(b.full, at).Add(perRequest * time.Duration(n))}
}

// afterCell is the bucket after the hosts of a cell have prepared and frozen at an instant.
func (b bucket) afterCell(hosts int, at time.Time) bucket {
	after, empty := b.took(2*hosts, at), bucket{at.Add(perRequest * MostInOneWindow)}
	if empty.full.Before(after.full) {
		return empty // at worst: the hosts' own requests were there
	}
	return after
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}
