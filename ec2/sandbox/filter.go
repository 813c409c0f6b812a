package sandbox

import (
	"encoding/base64"
	"hash/fnv"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"snaptastic/ec2/ebs"
)

// resource is what every describe can filter, sort and page.
type resource[R any] interface {
	key() (created time.Time, id string)
	shown(now time.Time) (R, bool) // as describes show it
	tags() Tags
}

// fields are a describe's filters: by name, the values of a resource.
type fields[R any] map[string]func(r R, now time.Time) []string

// filter is a Filter.N of a request: it matches when any value does.
type filter struct {
	name     string
	exact    map[string]bool
	patterns []string
}

func newFilter(name string, values []string) filter {
	f := filter{name: name, exact: map[string]bool{}}
	for _, value := range values {
		if strings.ContainsAny(value, `*?\`) {
			f.patterns = append(f.patterns, value)
		} else {
			f.exact[value] = true
		}
	}
	return f
}

func (f filter) takes(value string) bool {
	return f.exact[value] || slices.ContainsFunc(f.patterns, func(pattern string) bool { return glob(pattern, value) })
}

// filters reads and checks the request's filters.
func filters[R any](q *query, known fields[R]) ([]filter, error) {
	var wanted []filter
	total := 0
	for _, prefix := range q.each("Filter") {
		name, values := q.str(prefix+".Name"), q.list(prefix+".Value")
		_, ok := known[name]
		if !ok && name != "tag-key" && name != "tag-value" && !strings.HasPrefix(name, "tag:") {
			return nil, refuse("InvalidParameterValue", "The filter '%s' is invalid", name)
		}
		if len(values) == 0 {
			return nil, refuse("MissingParameter", "The request must contain the parameter %s.Value", prefix)
		}
		total += len(values)
		wanted = append(wanted, newFilter(name, values))
	}
	if total > ebs.MaxFilterValues {
		return nil, refuse("FilterLimitExceeded", "The maximum number of filter values specified on a single call is %d", ebs.MaxFilterValues)
	}
	if len(wanted) > ebs.MaxFilters {
		return nil, refuse("FilterLimitExceeded", "The maximum number of filters specified on a single call is %d", ebs.MaxFilters)
	}
	return wanted, nil
}

func matches[R resource[R]](wanted []filter, known fields[R], r R, now time.Time) bool {
	return !slices.ContainsFunc(wanted, func(f filter) bool {
		if key, ok := strings.CutPrefix(f.name, "tag:"); ok {
			tag, ok := r.tags()[key]
			return !ok || !f.takes(tag.Value)
		}
		if f.name == "tag-key" || f.name == "tag-value" {
			for key, tag := range r.tags() {
				if f.name == "tag-key" && f.takes(key) || f.name == "tag-value" && f.takes(tag.Value) {
					return false
				}
			}
			return true
		}
		return !slices.ContainsFunc(known[f.name](r, now), f.takes)
	})
}

// glob matches EC2's wildcards: * for any characters, ? for one, \ escapes. With several stars only the last one is
// backtracked, so the cost is at most the product of the lengths.
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
type listing[R any] struct {
	ids      string // the parameter that names some: VolumeId
	find     func(id string) (R, error)
	after    func(created time.Time, id string) iter.Seq[R] // the resources behind a place, in the order of their keys
	fields   fields[R]
	also     func(R) bool // a condition besides filters, or nil
	smallest int          // least MaxResults
}

// behind returns listing.after for a short list.
func behind[R resource[R]](every iter.Seq[R]) func(time.Time, string) iter.Seq[R] {
	return func(created time.Time, id string) iter.Seq[R] {
		return func(yield func(R) bool) {
			for r := range every {
				if itsCreated, itsID := r.key(); (id == "" || byAge(itsCreated, created, itsID, id) > 0) && !yield(r) {
					return
				}
			}
		}
	}
}

// describe returns the requested page of resources and the token of the next one. A token names a position between
// two resources, so it stays valid when resources are added or removed; it is valid only for the request that
// returned it. The cost of a page is the number of rows in it.
func describe[R resource[R]](t *tx, q *query, l listing[R]) ([]R, string, error) {
	wanted, err := filters(q, l.fields)
	if err != nil {
		return nil, "", err
	}
	ids := q.list(l.ids)
	if len(ids) > 0 && q.has("MaxResults") {
		return nil, "", refuse("InvalidParameterCombination", "The parameter %s cannot be used with the parameter MaxResults", l.ids)
	}
	size, err := t.pageSize(q, l.smallest)
	if err != nil {
		return nil, "", err
	}
	created, id, err := q.pagePlace()
	if err != nil {
		return nil, "", err
	}
	every := l.after
	if len(ids) > 0 {
		if every, err = named(ids, l.find); err != nil {
			return nil, "", err
		}
	}
	var found []R
	for r := range every(created, id) {
		r, ok := r.shown(t.now)
		if !ok || l.also != nil && !l.also(r) || !matches(wanted, l.fields, r, t.now) {
			continue
		}
		if size > 0 && len(found) == size {
			return found, q.pageToken(found[size-1].key()), nil
		}
		found = append(found, r)
	}
	return found, "", nil
}

// named is listing.after of the resources with these ids.
func named[R resource[R]](ids []string, find func(string) (R, error)) (func(time.Time, string) iter.Seq[R], error) {
	var found []R
	for _, id := range slices.Compact(slices.Sorted(slices.Values(ids))) {
		r, err := find(id)
		if err != nil {
			return nil, err
		}
		found = append(found, r)
	}
	slices.SortFunc(found, func(a, b R) int {
		createdA, idA := a.key()
		createdB, idB := b.key()
		return byAge(createdA, createdB, idA, idB)
	})
	return behind(slices.Values(found)), nil
}

// pageSize is how many resources a page has; 0: all of them.
func (t *tx) pageSize(q *query, smallest int) (int, error) {
	most := t.behaviour().PageSize
	if !q.has("MaxResults") && !q.has("NextToken") {
		return most, nil // EC2 pages only when asked to
	}
	size := 1000
	if q.has("MaxResults") {
		if size = min(q.int("MaxResults"), 1000); size < smallest {
			return 0, refuse("InvalidParameterValue",
				"Value ( %d ) for parameter maxResults is invalid. Expecting a value greater than or equal to %d.", size, smallest)
		}
	}
	if most > 0 {
		size = min(size, most)
	}
	return size, nil
}

// pageToken returns the token of the page after a position.
func (q *query) pageToken(created time.Time, id string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(q.listed() + "/" + strconv.FormatInt(created.UnixNano(), 10) + "/" + id))
}

// pagePlace reads NextToken; without one the place is the zero place.
func (q *query) pagePlace() (time.Time, string, error) {
	token := q.str("NextToken")
	if token == "" {
		return time.Time{}, "", nil
	}
	refused := refuse("InvalidNextToken", "The token '%s' is invalid", token)
	plain, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return time.Time{}, "", refused
	}
	parts := strings.SplitN(string(plain), "/", 3)
	if len(parts) != 3 || parts[0] != q.listed() {
		return time.Time{}, "", refused
	}
	nanos, err := strconv.ParseInt(parts[1], 10, 64)
	if err != nil {
		return time.Time{}, "", refused
	}
	return time.Unix(0, nanos), parts[2], nil
}

// listed identifies what a describe asks for, whichever page of it.
func (q *query) listed() string {
	h := fnv.New64a()
	h.Write([]byte(q.action + "?" + q.digest("MaxResults", "NextToken")))
	return strconv.FormatUint(h.Sum64(), 36)
}
