package ec2

import (
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// maxFilterValues is EC2's limit on the values of all filters of a describe.
// Source: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html
const maxFilterValues = 150

func filterOf[T ~string](name string, values ...T) types.Filter {
	words := make([]string, len(values))
	for i, v := range values {
		words[i] = string(v)
	}
	return types.Filter{Name: aws.String(name), Values: words}
}

// optional omits a parameter that has its zero value.
func optional[T comparable](value T) *T {
	var zero T
	if value == zero {
		return nil
	}
	return &value
}

// chunks splits values into lists that fit a filter. No values give one empty list.
func chunks(values []string) [][]string {
	if len(values) == 0 {
		return [][]string{nil}
	}
	return slices.Collect(slices.Chunk(values, maxFilterValues))
}

// eachPage calls next until it returns no token. EC2 may send empty pages; a repeated token would loop for ever.
func eachPage(next func() (*string, error)) error {
	seen := make(map[string]bool)
	for {
		token, err := next()
		if err != nil || aws.ToString(token) == "" {
			return err
		}
		if seen[*token] {
			return invalidRequest("Describe", "read all pages", "the endpoint sent the same page token twice")
		}
		seen[*token] = true
	}
}

// invalidRequest is the fault of a request that is not sent.
func invalidRequest(op, doing, message string) *Fault {
	return &Fault{Op: op, Doing: doing, Class: Invalid, Message: message}
}

// ignoreNotFoundOnRetry treats a deletion as done if its first answer was lost and the retry found nothing.
func ignoreNotFoundOnRetry(err error) error {
	if fault, ok := err.(*Fault); ok && fault.Class == NotFound && fault.repeated {
		return nil
	}
	return err
}

type cloner[T any] interface{ clone() T }

// matching returns copies of the elements that match: the result of a merged call is shared.
func matching[T cloner[T]](all []T, match func(T) bool) []T {
	var some []T
	for _, one := range all {
		if match(one) {
			some = append(some, one.clone())
		}
	}
	return some
}
