package sandbox

import (
	"cmp"
	"sort"
	"strings"
	"time"
	"unicode/utf8"

	"snaptastic/ec2/ebs"
)

func asTags(plain map[string]string) Tags {
	tags := make(Tags, len(plain))
	for key, value := range plain {
		tags[key] = TagValue{Value: value}
	}
	return tags
}

func checkTag(key, value string) error {
	switch {
	case key == "":
		return refuse("MissingParameter", "The request must contain the parameter Tag.Key")
	case strings.HasPrefix(strings.ToLower(key), "aws:"):
		return refuse("InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use")
	case utf8.RuneCountInString(key) > ebs.MaxTagKey:
		return refuse("InvalidParameterValue", "Tag key exceeds the maximum length of %d characters", ebs.MaxTagKey)
	case utf8.RuneCountInString(value) > ebs.MaxTagValue:
		return refuse("InvalidParameterValue", "Tag value exceeds the maximum length of %d characters", ebs.MaxTagValue)
	}
	return nil
}

// editTags returns where the tags of a resource of any kind are kept.
func (t *tx) editTags(id string) (*Tags, error) {
	prefix, _, _ := strings.Cut(id, "-")
	switch prefix {
	case "vol":
		if _, err := t.needVolume(id); err != nil {
			return nil, err
		}
		return &t.editVolume(id).Tags, nil
	case "snap":
		if _, err := t.needSnapshot(id); err != nil {
			return nil, err
		}
		return t.tagsOfSnapshot(t.editSnapshot(id)), nil
	case "i":
		if _, err := t.needInstance(id); err != nil {
			return nil, err
		}
		return &t.editInstance(id).Tags, nil
	case "ami":
		if _, err := t.needImage(id); err != nil {
			return nil, err
		}
		return &t.editImage(id).Tags, nil
	}
	return nil, refuse("InvalidID", "The ID '%s' is not valid", id)
}

func createTags(t *tx, q *query, out *document) error {
	given, err := q.tags("Tag")
	if err != nil {
		return err
	}
	if len(given) == 0 {
		return refuse("MissingParameter", "The request must contain the parameter Tag")
	}
	for _, id := range q.list("ResourceId") {
		tags, err := t.editTags(id)
		if err != nil {
			return err
		}
		if *tags == nil {
			*tags = Tags{}
		}
		for key, value := range given {
			(*tags)[key] = TagValue{Value: value}
		}
		if len(*tags) > ebs.MaxTags {
			return refuse("TagLimitExceeded", "The maximum number of tags for resource '%s' has been reached", id)
		}
	}
	out.done()
	return nil
}

// deleteTags removes the given keys; a key with a value only if the value matches; all tags if no key is given.
func deleteTags(t *tx, q *query, out *document) error {
	for _, id := range q.list("ResourceId") {
		tags, err := t.editTags(id)
		if err != nil {
			return err
		}
		given := q.each("Tag")
		if len(given) == 0 {
			clear(*tags)
		}
		for _, tag := range given {
			key := q.str(tag + ".Key")
			if !q.has(tag+".Value") || (*tags)[key].Value == q.str(tag+".Value") {
				delete(*tags, key)
			}
		}
	}
	out.done()
	return nil
}

// tagRow is one tag of one resource, as DescribeTags lists them.
type tagRow struct{ resource, kind, name, value string }

func (r *tagRow) key() (time.Time, string)        { return time.Unix(0, 0), r.resource + "\x00" + r.name }
func (r *tagRow) shown(time.Time) (*tagRow, bool) { return r, true }
func (r *tagRow) tags() Tags                      { return Tags{r.name: {Value: r.value}} }

var tagFields = fields[*tagRow]{
	"key":           single(func(r *tagRow, _ time.Time) string { return r.name }),
	"resource-id":   single(func(r *tagRow, _ time.Time) string { return r.resource }),
	"resource-type": single(func(r *tagRow, _ time.Time) string { return r.kind }),
	"value":         single(func(r *tagRow, _ time.Time) string { return r.value }),
}

func describeTags(t *tx, q *query, out *document) error {
	rows, next, err := describe(t, q, listing[*tagRow]{ids: "-", fields: tagFields, after: behind(t.tagRows), smallest: 5})
	if err != nil {
		return err
	}
	set(out, "tagSet", rows, func(r *tagRow) {
		out.text("resourceId", r.resource)
		out.text("resourceType", r.kind)
		out.text("key", r.name)
		out.text("value", r.value)
	})
	out.optional("nextToken", next)
	return nil
}

// tagRows yields every visible tag, sorted by resource and key.
func (t *tx) tagRows(yield func(*tagRow) bool) {
	var rows []*tagRow
	add := func(id, kind string, tags Tags) {
		for _, key := range sortedKeys(tags) {
			rows = append(rows, &tagRow{id, kind, key, tags[key].Value})
		}
	}
	for i := range t.everyImage() {
		if i, ok := i.shown(t.now); ok {
			add(i.ID, "image", i.tags())
		}
	}
	for i := range t.instances() {
		if i, ok := i.shown(t.now); ok {
			add(i.ID, "instance", i.tags())
		}
	}
	for s := range t.snapshotsAfter(time.Time{}, "") {
		if s, ok := s.shown(t.now); ok {
			add(s.ID, "snapshot", s.tags())
		}
	}
	for v := range t.volumesAfter(time.Time{}, "") {
		if v, ok := v.shown(t.now); ok {
			add(v.ID, "volume", v.tags())
		}
	}
	sort.Slice(rows, func(i, j int) bool {
		a, b := rows[i], rows[j]
		return cmp.Or(cmp.Compare(a.resource, b.resource), cmp.Compare(a.name, b.name)) < 0
	})
	for _, row := range rows {
		if !yield(row) {
			return
		}
	}
}
