package settings

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// validName is what a snapshotter may be called: it stands in run ids, in
// file names and in tags.
var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// A shape is what one kind of block may hold.
type shape struct {
	label   string   // what its one label means; "" for no label
	needs   []string // attributes that must be there
	takes   []string // attributes that may be there
	blocks  map[string]*shape
	once    []string // the blocks that may stand here at most once
	dynamic bool     // may be written as dynamic "…"
}

var (
	timeoutsShape = &shape{takes: timeoutNames}
	volumeShape   = &shape{
		label: "device", dynamic: true,
		needs: []string{"mount_point"},
		takes: []string{"size", "file_system", "mount_options", "mkfs_options", "volume_type", "iops", "throughput",
			"encrypted", "kms_key_id", "initialization_rate", "delete_on_termination", "device_name_offset", "owner", "group", "mode"},
	}
	hookShape = &shape{
		label: "name", dynamic: true,
		needs: []string{"command"},
		takes: []string{"timeout", "repeatable", "on_failure", "when", "hold"},
	}
	snapshotterShape = &shape{
		label:  "name",
		takes:  []string{"filter_tags", "description", "expire_after", "consistency", "on_missing", "offline", "max_hold", "freeze_expedite"},
		blocks: map[string]*shape{"volume": volumeShape, "hook": hookShape, "timeouts": timeoutsShape},
		once:   []string{"timeouts"},
	}
	awsShape  = &shape{takes: []string{"region", "endpoint_url", "profile", "patience"}}
	fileShape = &shape{
		takes:  []string{"max_hold", "freeze_expedite"},
		blocks: map[string]*shape{"aws": awsShape, "snapshotter": snapshotterShape, "timeouts": timeoutsShape},
	}
)

// schema is the shape in HCL's own words.
func (s *shape) schema() *hcl.BodySchema {
	schema := &hcl.BodySchema{}
	for _, name := range s.needs {
		schema.Attributes = append(schema.Attributes, hcl.AttributeSchema{Name: name, Required: true})
	}
	for _, name := range s.takes {
		schema.Attributes = append(schema.Attributes, hcl.AttributeSchema{Name: name})
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
		names := slices.Concat(s.needs, s.takes)
		diag.Detail += " " + expected("argument", names)
	case "Unsupported block type":
		names := sortedKeys(s.blocks)
		diag.Detail += " " + expected("block", names)
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
