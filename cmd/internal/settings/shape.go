package settings

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// validName is what a snapshotter may be called: it stands in run ids, in
// file names and in tags.
var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// A shape is what one kind of block may hold.
type shape struct {
	label   string // what its one label means; "" for no label
	attrs   []argument
	blocks  map[string]*shape
	once    []string // the blocks that may stand here at most once
	dynamic bool     // may be written as dynamic "…"
}

var (
	timeoutsShape = &shape{attrs: timeoutAttrs()}
	volumeShape   = &shape{
		label: "device", dynamic: true,
		attrs: []argument{mountPointAttr, sizeAttr, fileSystemAttr, mountOptionsAttr, mkfsOptionsAttr, volumeTypeAttr, iopsAttr, throughputAttr,
			encryptedAttr, kmsKeyIDAttr, initializationRateAttr, warmAttr, warmRateAttr, deleteOnTerminationAttr, deviceNameOffsetAttr, ownerAttr, groupAttr, modeAttr},
	}
	hookShape = &shape{
		label: "name", dynamic: true,
		attrs: []argument{commandAttr, timeoutAttr, repeatableAttr, onFailureAttr, whenAttr, holdAttr},
	}
	keepShape        = &shape{attrs: keepAttrs()}
	snapshotterShape = &shape{
		label:  "name",
		attrs:  []argument{filterTagsAttr, descriptionAttr, expireAfterAttr, cleanAfterAttr, consistencyAttr, onMissingAttr, restoreAttr, offlineAttr, shareWithAttr, copyFromAttr, maxHoldAttr, freezeExpediteAttr},
		blocks: map[string]*shape{"copy": copyShape, "volume": volumeShape, "hook": hookShape, "keep": keepShape, "lock": lockShape, "timeouts": timeoutsShape, "verify": verifyShape},
		once:   []string{"keep", "lock", "timeouts", "verify"},
	}
	awsShape       = &shape{attrs: []argument{regionAttr, endpointURLAttr, profileAttr, patienceAttr}}
	telemetryShape = &shape{attrs: []argument{otlpEndpointAttr, otlpHeadersAttr, otlpTimeoutAttr}}
	fileShape      = &shape{
		attrs:  []argument{maxHoldAttr, freezeExpediteAttr},
		blocks: map[string]*shape{"aws": awsShape, "snapshotter": snapshotterShape, "telemetry": telemetryShape, "timeouts": timeoutsShape},
	}
)

func (s *shape) names() (names []string) {
	for _, a := range s.attrs {
		names = append(names, a.row().name)
	}
	return names
}

// schema is the shape in HCL's own words.
func (s *shape) schema() *hcl.BodySchema {
	schema := &hcl.BodySchema{}
	for _, a := range s.attrs {
		schema.Attributes = append(schema.Attributes, hcl.AttributeSchema{Name: a.row().name, Required: a.row().def == isRequired})
	}
	for _, name := range sortedKeys(s.blocks) {
		header := hcl.BlockHeaderSchema{Type: name}
		if label := s.blocks[name].label; label != "" {
			header.LabelNames = []string{label}
		}
		schema.Blocks = append(schema.Blocks, header)
	}
	return schema
}

// check finds unknown, missing and repeated names in body and in all blocks
// below it, dynamic ones included, and evaluates nothing.
func (s *shape) check(body hcl.Body) hcl.Diagnostics {
	schema := s.schema()
	if len(s.dynamics()) > 0 {
		schema.Blocks = append(schema.Blocks, hcl.BlockHeaderSchema{Type: "dynamic", LabelNames: []string{"type"}})
	}
	content, diags := body.Content(schema)
	for _, diag := range diags {
		s.expect(diag)
	}
	diags = append(diags, onceOnly(content.Blocks, s.once...)...)
	for _, block := range content.Blocks {
		if block.Type == "dynamic" {
			diags = append(diags, s.checkDynamic(block)...)
			continue
		}
		diags = append(diags, s.blocks[block.Type].check(block.Body)...)
	}
	return diags
}

// dynamics are the blocks that may be written as dynamic "…".
func (s *shape) dynamics() []string {
	var names []string
	for _, name := range sortedKeys(s.blocks) {
		if s.blocks[name].dynamic {
			names = append(names, name)
		}
	}
	return names
}

var dynamicSchema = &hcl.BodySchema{
	Attributes: []hcl.AttributeSchema{{Name: "for_each", Required: true}, {Name: "labels", Required: true}, {Name: "iterator"}},
	Blocks:     []hcl.BlockHeaderSchema{{Type: "content"}},
}

func (s *shape) checkDynamic(block *hcl.Block) hcl.Diagnostics {
	target, known := s.blocks[block.Labels[0]]
	if !known || !target.dynamic {
		return hcl.Diagnostics{mistake(block.LabelRanges[0], "Unsupported dynamic block",
			"A dynamic block can be %s here.", list(quoted(s.dynamics()), "or"))}
	}
	content, diags := block.Body.Content(dynamicSchema)
	if len(content.Blocks) != 1 {
		diags = append(diags, mistake(block.DefRange, "Invalid dynamic block",
			"A dynamic block has exactly one content block; this one has %d.", len(content.Blocks)))
	}
	for _, inner := range content.Blocks {
		diags = append(diags, target.check(inner.Body)...)
	}
	return diags
}

// expect adds the names that would have been right to a diagnostic of HCL's
// that has no suggestion of its own.
func (s *shape) expect(diag *hcl.Diagnostic) {
	if strings.Contains(diag.Detail, "Did you mean") {
		return
	}
	switch diag.Summary {
	case "Unsupported argument":
		diag.Detail += " " + expected("argument", s.names())
	case "Unsupported block type":
		diag.Detail += " " + expected("block", sortedKeys(s.blocks))
	}
}

func expected(what string, names []string) string {
	switch len(names) {
	case 0:
		return fmt.Sprintf("No %s is known here.", what)
	case 1:
		return fmt.Sprintf("The only %s known here is %s.", what, names[0])
	}
	return fmt.Sprintf("Known here: %s.", list(names, "and"))
}

// onceOnly finds the second block of each type that may stand only once.
func onceOnly(blocks hcl.Blocks, types ...string) hcl.Diagnostics {
	var diags hcl.Diagnostics
	for _, name := range types {
		same := blocks.OfType(name)
		for i := 1; i < len(same); i++ {
			diags = append(diags, mistake(same[i].DefRange, fmt.Sprintf("Duplicate %s block", name),
				"There is one already at %s; write everything into one.", place(same[0].DefRange)))
		}
	}
	return diags
}
