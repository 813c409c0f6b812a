package sandbox

import (
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"time"
)

// resource is what every describe can filter, sort and page.
type resource interface {
	key() (created time.Time, id string)
	visible(now time.Time) bool
	tags(now time.Time) map[string]string
}

// fields are a describe's filters: by name, the values of a resource.
type fields[R resource] map[string]func(r R, now time.Time) []string

// filter is a Filter.N of a request: it matches when any value does.
type filter struct {
	name   string
	values []string
}

// filters reads and checks the request's filters.
func filters[R resource](q *query, known fields[R]) ([]filter, error) {
	var wanted []filter
	for _, prefix := range q.each("Filter") {
		f := filter{name: q.str(prefix + ".Name"), values: q.list(prefix + ".Value")}
		_, ok := known[f.name]
		if !ok && f.name != "tag-key" && f.name != "tag-value" && !strings.HasPrefix(f.name, "tag:") {
			return nil, refuse("InvalidParameterValue", "The filter '%s' is invalid", f.name)
		}
		if len(f.values) == 0 {
			return nil, refuse("MissingParameter", "The request must contain the parameter %s.Value", prefix)
		}
		if len(f.values) > 200 {
			return nil, refuse("FilterLimitExceeded", "The maximum number of filter values specified on a single call is 200")
		}
		wanted = append(wanted, f)
	}
	return wanted, nil
}

func matches[R resource](wanted []filter, known fields[R], r R, now time.Time) bool {
	return !slices.ContainsFunc(wanted, func(f filter) bool {
		var values []string
		if key, ok := strings.CutPrefix(f.name, "tag:"); ok {
			if value, ok := r.tags(now)[key]; ok {
				values = []string{value}
			}
		} else if f.name == "tag-key" {
			values = sortedKeys(r.tags(now))
		} else if f.name == "tag-value" {
			for _, value := range r.tags(now) {
				values = append(values, value)
			}
		} else {
			values = known[f.name](r, now)
		}
		return !slices.ContainsFunc(values, func(value string) bool {
			return slices.ContainsFunc(f.values, func(pattern string) bool { return glob(pattern, value) })
		})
	})
}

// glob matches EC2's wildcards: * any characters, ? one, \ takes the next as it
// is. Of several stars only the last needs to be tried again, so it is never
// worse than the product of the lengths.
func glob(pattern, value string) bool {
	afterStar, retry := "", ""
	starred := false
	for {
		literal := strings.HasPrefix(pattern, `\`) && len(pattern) > 1
		switch {
		case !literal && strings.HasPrefix(pattern, "*"):
			pattern = pattern[1:]
			starred, afterStar, retry = true, pattern, value
			continue
		case pattern == "" && value == "":
			return true
		case pattern != "" && value != "" && literal && pattern[1] == value[0]:
			pattern, value = pattern[2:], value[1:]
			continue
		case pattern != "" && value != "" && !literal && (pattern[0] == '?' || pattern[0] == value[0]):
			pattern, value = pattern[1:], value[1:]
			continue
		case !starred || retry == "":
			return false
		}
		retry = retry[1:]
		pattern, value = afterStar, retry
	}
}

// listing is how one Describe action finds its resources.
type listing[R resource] struct {
	ids      string // the parameter that names some: VolumeId
	find     func(id string) (R, error)
	every    func(yield func(R) bool)
	fields   fields[R]
	also     func(R) bool // a condition besides filters, or nil
	smallest int          // least MaxResults
}

// describe returns the page of resources that the request asks for and the
// token of the next one. A resource is hidden while describes lag behind it.
func describe[R resource](t *tx, q *query, l listing[R]) ([]R, string, error) {
	wanted, err := filters(q, l.fields)
	if err != nil {
		return nil, "", err
	}
	ids := q.list(l.ids)
	if len(ids) > 0 && q.has("MaxResults") {
		return nil, "", refuse("InvalidParameterCombination", "The parameter %s cannot be used with the parameter MaxResults", l.ids)
	}
	var found []R
	keep := func(r R) {
		if r.visible(t.now) && (l.also == nil || l.also(r)) && matches(wanted, l.fields, r, t.now) {
			found = append(found, r)
		}
	}
	for _, id := range slices.Compact(slices.Sorted(slices.Values(ids))) {
		r, err := l.find(id)
		if err != nil {
			return nil, "", err
		}
		keep(r)
	}
	if len(ids) == 0 {
		l.every(func(r R) bool { keep(r); return true })
	}
	return page(t, q, found, l.smallest)
}

// page cuts the page that MaxResults and NextToken ask for. A token names the
// place between two resources, so it holds when some come or go.
func page[R resource](t *tx, q *query, found []R, smallest int) ([]R, string, error) {
	size := 1000
	if q.has("MaxResults") {
		if size = min(q.int("MaxResults"), 1000); size < smallest {
			return nil, "", refuse("InvalidParameterValue",
				"Value ( %d ) for parameter maxResults is invalid. Expecting a value greater than or equal to %d.", size, smallest)
		}
	} else if len(found) > 0 && !q.has("NextToken") && t.w.faults.current.PageSize == 0 {
		return found, "", nil // EC2 pages only when asked to
	}
	if most := t.w.faults.current.PageSize; most > 0 {
		size = min(size, most)
	}
	if token := q.str("NextToken"); token != "" {
		after, id, ok := readPageToken(token)
		if !ok {
			return nil, "", refuse("InvalidNextToken", "The token '%s' is invalid", token)
		}
		found = slices.DeleteFunc(found, func(r R) bool {
			created, itsID := r.key()
			return byAge(created, after, itsID, id) <= 0
		})
	}
	if len(found) <= size {
		return found, "", nil
	}
	created, id := found[size-1].key()
	return found[:size], pageToken(created, id), nil
}

func pageToken(after time.Time, id string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(after.UnixNano(), 10) + "/" + id))
}

func readPageToken(token string) (time.Time, string, bool) {
	plain, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return time.Time{}, "", false
	}
	nanos, id, ok := strings.Cut(string(plain), "/")
	n, err := strconv.ParseInt(nanos, 10, 64)
	return time.Unix(0, n), id, ok && err == nil
}
