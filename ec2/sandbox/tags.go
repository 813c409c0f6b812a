package sandbox

import (
	"strings"
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
		if s := t.editSnapshot(id); s.OwnerID != Account {
			return &s.OurTags, nil
		}
		return &t.editSnapshot(id).Tags, nil
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
