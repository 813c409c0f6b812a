package sandbox

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"snaptastic/ec2/ebs"
)

// query is a parsed request of the Query protocol: flat parameters whose lists
// are numbered from 1, as Filter.1.Value.2.
type query struct {
	action  string
	values  map[string]string
	faults  []Fault // those that strike this request
	request string  // its id
}

// notParameters are what every request carries besides its action's parameters.
var notParameters = []string{"Action", "Version", "DryRun"}

func newQuery(form url.Values) *query {
	q := &query{action: form.Get("Action"), values: map[string]string{}}
	for key, values := range form {
		// An empty list is sent as its bare name.
		if len(values) > 0 {
			q.values[key] = values[0]
		}
	}
	return q
}

// logged are the parameters as the call log shows them: what may be a secret
// is left out. User data holds whatever an operator put there.
func (q *query) logged() map[string]string {
	params := maps.Clone(q.values)
	delete(params, "Action")
	delete(params, "Version")
	for name, value := range params {
		if secret.MatchString(name) || name == "Value" && strings.EqualFold(q.values["Attribute"], "userData") {
			params[name] = fmt.Sprintf("(redacted, %d bytes)", len(value))
		}
	}
	return params
}

var secret = regexp.MustCompile(`(?i)user-?data|password|secret|presigned|signature|credential|security-?token`)

func (q *query) has(name string) bool { _, ok := q.values[name]; return ok }

func (q *query) str(name string) string { return q.values[name] }

// int, bool and instant read what check has found well-formed.
func (q *query) int(name string) int { n, _ := strconv.Atoi(q.values[name]); return n }

func (q *query) bool(name string) bool { return q.values[name] == "true" }

func (q *query) instant(name string) time.Time {
	t, _ := time.Parse(time.RFC3339, q.values[name])
	return t
}

// each returns the prefixes name.1, name.2, … that the request has, in order.
func (q *query) each(name string) []string {
	numbers := map[int]bool{}
	for key := range q.values {
		rest, ok := strings.CutPrefix(key, name+".")
		if !ok {
			continue
		}
		first, _, _ := strings.Cut(rest, ".")
		if n, err := strconv.Atoi(first); err == nil {
			numbers[n] = true
		}
	}
	var prefixes []string
	for _, n := range slices.Sorted(maps.Keys(numbers)) {
		prefixes = append(prefixes, name+"."+strconv.Itoa(n))
	}
	return prefixes
}

// list returns the values of name.1, name.2, ….
func (q *query) list(name string) []string {
	var values []string
	for _, prefix := range q.each(name) {
		values = append(values, q.values[prefix])
	}
	return values
}

// digest identifies the parameters of a request, but for some.
func (q *query) digest(but ...string) string {
	var b strings.Builder
	for _, key := range sortedKeys(q.values) {
		if !slices.Contains(notParameters, key) && !slices.Contains(but, key) {
			b.WriteString(url.QueryEscape(key) + "=" + url.QueryEscape(q.values[key]) + "&")
		}
	}
	return b.String()
}

// check compares the request with the parameters its action knows (see action).
func (q *query) check(known string) error {
	kinds := map[string]string{"DryRun": "bool"}
	var trees []string
	for word := range strings.FieldsSeq(known) {
		name, kind, _ := strings.Cut(word, ":")
		required := strings.HasSuffix(name, "!")
		name = strings.TrimSuffix(name, "!")
		if tree, ok := strings.CutSuffix(name, ".*"); ok {
			trees = append(trees, tree)
			continue
		}
		kinds[name] = kind
		list, isList := strings.CutSuffix(name, ".N")
		if required && !isList && q.values[name] == "" || required && isList && len(q.each(list)) == 0 {
			return refuse("MissingParameter", "The request must contain the parameter %s", list)
		}
	}
	for _, key := range sortedKeys(q.values) {
		if key == "Action" || key == "Version" {
			continue
		}
		general := withoutIndexes(key)
		kind, ok := kinds[general]
		if !ok && q.values[key] == "" && hasList(kinds, general) {
			continue
		}
		if !ok && !slices.ContainsFunc(trees, func(tree string) bool { return strings.HasPrefix(general, tree+".") }) {
			return refuse("UnknownParameter", "The parameter %s is not recognized", key)
		}
		if err := checkKind(key, kind, q.values[key]); err != nil {
			return err
		}
	}
	return nil
}

func hasList(kinds map[string]string, name string) bool {
	for known := range kinds {
		if strings.HasPrefix(known, name+".N") {
			return true
		}
	}
	return false
}

// withoutIndexes replaces the numbers of a key by N.
func withoutIndexes(key string) string {
	parts := strings.Split(key, ".")
	for i, part := range parts {
		if _, err := strconv.Atoi(part); err == nil && i > 0 {
			parts[i] = "N"
		}
	}
	return strings.Join(parts, ".")
}

func checkKind(key, kind, value string) error {
	var err error
	switch kind {
	case "int":
		_, err = strconv.ParseInt(value, 10, 32)
	case "bool":
		if value != "true" && value != "false" {
			err = strconv.ErrSyntax
		}
	case "time":
		_, err = time.Parse(time.RFC3339, value)
	}
	if err != nil {
		return refuse("InvalidParameterValue", "Invalid value '%s' for parameter %s: expected a value of type %s", value, key, kind)
	}
	return nil
}

// tagsFor reads TagSpecification.N for one resource type. Types that the action cannot tag are refused.
func (q *query) tagsFor(wanted string, types ...string) (map[string]string, error) {
	tags := map[string]string{}
	for _, spec := range q.each("TagSpecification") {
		kind := q.str(spec + ".ResourceType")
		if !slices.Contains(types, kind) {
			return nil, refuse("InvalidParameterValue", "'%s' is not a valid taggable resource type for this operation.", kind)
		}
		given, err := q.tags(spec + ".Tag")
		if err != nil {
			return nil, err
		}
		if kind == wanted {
			maps.Copy(tags, given)
		}
	}
	if len(tags) > ebs.MaxTags {
		return nil, refuse("TagLimitExceeded", "The maximum number of Tags for a resource has been reached.")
	}
	return tags, nil
}

// tags reads prefix.N.Key and prefix.N.Value.
func (q *query) tags(prefix string) (map[string]string, error) {
	tags := map[string]string{}
	for _, tag := range q.each(prefix) {
		key := q.str(tag + ".Key")
		if err := checkTag(key, q.str(tag+".Value")); err != nil {
			return nil, err
		}
		if _, twice := tags[key]; twice {
			return nil, refuse("InvalidParameterValue", "Duplicate tag key '%s' specified.", key)
		}
		tags[key] = q.str(tag + ".Value")
	}
	return tags, nil
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
