package sandbox

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Policy is an IAM policy document. A sandbox that has one refuses what it does
// not allow, as IAM would for a role with this policy and no other: explicit
// denials, resources, and conditions on tags, of the request and of what it is
// about (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html,
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html).
type Policy struct {
	Version   string
	ID        string `json:"Id,omitempty"`
	Statement []Statement
}

// Statement is one of a policy's.
type Statement struct {
	Sid       string `json:",omitempty"`
	Effect    string // Allow, Deny
	Action    Words
	Resource  Words
	Condition map[string]map[string]Words `json:",omitempty"` // operator, key, values
}

// Words is one string or a list of strings.
type Words []string

// UnmarshalJSON implements json.Unmarshaler.
func (w *Words) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*w = Words{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(w))
}

// ParsePolicy reads a policy document. What the sandbox could not honour is an error.
func ParsePolicy(text []byte) (*Policy, error) {
	var p Policy
	return &p, p.UnmarshalJSON(text)
}

func (p *Policy) checkSupported() error {
	for _, s := range p.Statement {
		if s.Effect != "Allow" && s.Effect != "Deny" {
			return fmt.Errorf("statement %q: the effect must be Allow or Deny, not %q", s.Sid, s.Effect)
		}
		for operator, conditions := range s.Condition {
			if _, ok := operators[plainOperator(operator)]; !ok && operator != "Null" {
				return fmt.Errorf("statement %q: the sandbox does not know the condition operator %s", s.Sid, operator)
			}
			for key, values := range conditions {
				if len(values) == 0 {
					return fmt.Errorf("statement %q: the condition on %s has no value", s.Sid, key)
				}
			}
		}
	}
	return nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (p *Policy) UnmarshalJSON(data []byte) error {
	type fields Policy // without this method
	if err := decodeStrict(data, (*fields)(p)); err != nil {
		return err
	}
	return p.checkSupported()
}

// access is one thing that a request needs to be allowed.
type access struct {
	action  string // with its service: ec2:CreateVolume
	arn     string
	context map[string][]string // values by condition key
}

// authorize refuses a request that the policy does not allow.
func (t *tx) authorize(q *query) error {
	policy := t.behaviour().Policy
	if policy == nil {
		return nil
	}
	for _, a := range t.accesses(q) {
		if err := policy.check(a, t.here); err != nil {
			return err
		}
	}
	return nil
}

func (p *Policy) check(a access, in World) error {
	allowed := false
	for _, s := range p.Statement {
		if !s.covers(a) {
			continue
		}
		if s.Effect == "Deny" {
			return forbidden(in, a, "with an explicit deny in an identity-based policy")
		}
		allowed = true
	}
	if !allowed {
		return forbidden(in, a, "because no identity-based policy allows the "+a.action+" action")
	}
	return nil
}

func forbidden(in World, a access, why string) error {
	return refuse("UnauthorizedOperation", "You are not authorized to perform this operation. User: arn:aws:sts::%s:assumed-role/%s/sandbox is not authorized to perform: %s on resource: %s %s",
		in.Account, roleName, a.action, a.arn, why)
}

func (s *Statement) covers(a access) bool {
	action := strings.ToLower(a.action)
	if !slices.ContainsFunc(s.Action, func(pattern string) bool { return glob(strings.ToLower(pattern), action) }) {
		return false
	}
	if !slices.ContainsFunc(s.Resource, func(pattern string) bool { return glob(pattern, a.arn) }) {
		return false
	}
	for operator, conditions := range s.Condition {
		for key, wanted := range conditions {
			if !holds(operator, wanted, a.context[strings.ToLower(key)]) {
				return false
			}
		}
	}
	return true
}

// operators compare one wanted value with one of the request. Those that begin
// with Not are made of them.
var operators = map[string]func(wanted, value string) bool{
	"StringEquals":           func(wanted, value string) bool { return wanted == value },
	"StringEqualsIgnoreCase": strings.EqualFold,
	"StringLike":             glob,
	"ArnEquals":              glob,
	"ArnLike":                glob,
	"Bool":                   strings.EqualFold,
}

// plainOperator strips the set prefix, IfExists and Not from an operator.
func plainOperator(operator string) string {
	operator = strings.TrimPrefix(strings.TrimPrefix(operator, "ForAllValues:"), "ForAnyValue:")
	return strings.Replace(strings.TrimSuffix(operator, "IfExists"), "Not", "", 1)
}

// holds reports whether the request's values for a key meet a condition.
func holds(operator string, wanted, values []string) bool {
	plain := plainOperator(operator)
	if operator == "Null" {
		return strings.EqualFold(wanted[0], fmt.Sprint(len(values) == 0))
	}
	not := strings.Contains(operator, "Not")
	meets := func(value string) bool {
		return slices.ContainsFunc(wanted, func(w string) bool { return operators[plain](w, value) }) != not
	}
	switch {
	case strings.HasPrefix(operator, "ForAllValues:"):
		return !slices.ContainsFunc(values, func(value string) bool { return !meets(value) })
	case len(values) == 0:
		return strings.HasSuffix(operator, "IfExists") || not && !strings.HasPrefix(operator, "ForAnyValue:")
	}
	return slices.ContainsFunc(values, meets)
}

// made names, by action, what kind of resource it makes and tags.
var made = map[string]string{
	"CreateVolume": "volume", "CreateSnapshot": "snapshot", "CreateSnapshots": "snapshot", "CopySnapshot": "snapshot",
	"CreateImage": "image", "RunInstances": "instance",
}

// accesses lists what a request needs permission for: the action on each resource that it names or creates, and
// tagging the created ones.
func (t *tx) accesses(q *query) []access {
	action := "ec2:" + q.action
	if strings.HasPrefix(q.action, "Describe") {
		return []access{{action: action, arn: "*", context: requestContext(t.here, nil)}}
	}
	var needed []access
	if q.action == "CreateTags" || q.action == "DeleteTags" {
		tags := q.tagsGiven("Tag")
		for _, id := range q.list("ResourceId") {
			needed = append(needed, access{action, t.here.arnOf(id), t.contextOf(id, tags)})
		}
		return needed
	}
	for _, id := range t.subjects(q) {
		needed = append(needed, access{action, t.here.arnOf(id), t.contextOf(id, nil)})
	}
	if kind := made[q.action]; kind != "" {
		for _, spec := range append([]string{""}, q.each("TagSpecification")...) {
			if spec != "" && q.str(spec+".ResourceType") != kind {
				continue
			}
			tags := q.tagsGiven(spec + ".Tag")
			if spec == "" && len(q.each("TagSpecification")) > 0 {
				continue
			}
			needed = append(needed, access{action, t.here.arn(kind, "*"), requestContext(t.here, tags)})
			if len(tags) > 0 {
				tagging := requestContext(t.here, tags)
				tagging["ec2:createaction"] = []string{q.action}
				needed = append(needed, access{"ec2:CreateTags", t.here.arn(kind, "*"), tagging})
			}
		}
	}
	return needed
}

// subjects are the ids of the existing things that a request is about.
func (t *tx) subjects(q *query) []string {
	var ids []string
	for _, name := range []string{"InstanceId", "InstanceSpecification.InstanceId", "VolumeId", "SnapshotId", "SourceSnapshotId", "ImageId"} {
		if q.has(name) {
			ids = append(ids, q.str(name))
		}
	}
	if q.action == "TerminateInstances" {
		ids = append(ids, q.list("InstanceId")...)
	}
	for _, mapping := range q.each("BlockDeviceMapping") {
		if v := t.volumeAt(q.str("InstanceId"), q.str(mapping+".DeviceName")); v != nil && q.action == "ModifyInstanceAttribute" {
			ids = append(ids, v.ID)
		}
	}
	if i := t.instance(q.str("InstanceSpecification.InstanceId")); i != nil {
		if volumes, err := t.snapshotSet(i, q); err == nil {
			for _, v := range volumes {
				ids = append(ids, v.ID)
			}
		}
	}
	return ids
}

// tagsGiven returns the tags of a request, unchecked.
func (q *query) tagsGiven(prefix string) map[string]string {
	tags := map[string]string{}
	for _, tag := range q.each(prefix) {
		tags[q.str(tag+".Key")] = q.str(tag + ".Value")
	}
	return tags
}

// requestContext returns the condition keys of a request with tags.
func requestContext(in World, tags map[string]string) map[string][]string {
	context := map[string][]string{"aws:requestedregion": {in.Region}, "ec2:region": {in.Region}}
	for key, value := range tags {
		context["aws:requesttag/"+strings.ToLower(key)] = []string{value}
		context["aws:tagkeys"] = append(context["aws:tagkeys"], key)
	}
	return context
}

// contextOf adds those of an existing resource.
func (t *tx) contextOf(id string, given map[string]string) map[string][]string {
	context := requestContext(t.here, given)
	var tags Tags
	switch prefix, _, _ := strings.Cut(id, "-"); prefix {
	case "vol":
		if v := t.volume(id); v != nil {
			tags = v.Tags
			context["ec2:volumetype"] = []string{v.Type}
		}
	case "snap":
		if s := t.snapshot(id); s != nil {
			tags = s.tags()
			context["ec2:owner"] = []string{s.OwnerID}
		}
	case "i":
		if i := t.instance(id); i != nil {
			tags = i.Tags
			context["ec2:instancetype"] = []string{i.Type}
		}
	case "ami":
		if i := t.image(id); i != nil {
			tags = i.Tags
			context["ec2:owner"] = []string{i.OwnerID}
		}
	}
	for key, tag := range tags {
		context["aws:resourcetag/"+strings.ToLower(key)] = []string{tag.Value}
		context["ec2:resourcetag/"+strings.ToLower(key)] = []string{tag.Value}
	}
	return context
}

// kinds are the kinds of resources by the prefix of their ids.
var kinds = map[string]string{"vol": "volume", "snap": "snapshot", "i": "instance", "ami": "image"}

// arnOf is the name of a resource. Those of snapshots and images have no account.
func (w World) arnOf(id string) string {
	prefix, _, _ := strings.Cut(id, "-")
	return w.arn(kinds[prefix], id)
}

func (w World) arn(kind, id string) string {
	account := w.Account
	if kind == "snapshot" || kind == "image" {
		account = ""
	}
	return "arn:aws:ec2:" + w.Region + ":" + account + ":" + kind + "/" + id
}
