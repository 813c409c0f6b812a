// Package settings turns the HCL 2 settings file into recipe.Spec.
//
// It finds the file, refuses one that strangers may write (its hooks run as
// root), checks its shape, evaluates one snapshotter with the instance's
// userdata at hand, and holds every value against what EC2 and Linux accept.
// Each mistake is a diagnostic with the file, the line and what was expected.
//
// It imports recipe for the type it produces and the HCL libraries. It never
// calls EC2 or the metadata service itself: the caller hands in functions, and
// they are called only when an expression asks for what they give.
package settings

import (
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// A File is the parsed settings: one file, or several that were read as one.
type File struct {
	paths        []string
	sources      map[string]*hcl.File
	snapshotters []*hcl.Block
	engine       engine // what the top level says for all snapshotters
	aws          AWS
	telemetry    Telemetry
}

// AWS says how to reach EC2. What is empty is left to the SDK's default chain
// and to the instance's own metadata.
type AWS struct {
	Region      string
	EndpointURL string
	Profile     string
	Patience    *time.Duration // of what runs unattended; nil: not said
}

// Load reads and parses paths as one body of settings. It checks names and
// shape of every block, evaluates the aws block (env is the only variable
// there) and nothing else. The error is an *Error when the text is at fault,
// and a plain one-sentence error when a file cannot or must not be read.
func Load(paths []string) (*File, error) {
	f := &File{paths: slices.Clone(paths), sources: map[string]*hcl.File{}}
	var bodies []hcl.Body
	var diags hcl.Diagnostics
	for _, path := range paths {
		src, err := read(path)
		if err != nil {
			return nil, err
		}
		more := f.parse(path, src)
		diags = append(diags, more...)
		if !more.HasErrors() {
			bodies = append(bodies, f.sources[path].Body)
		}
	}
	if !diags.HasErrors() {
		diags = append(diags, f.index(bodies)...)
	}
	if err := f.fail(diags); err != nil {
		return nil, err
	}
	return f, nil
}

// Parse is Load for text that is at hand already; name is what diagnostics
// call it. No file is read and no permission looked at.
func Parse(name string, src []byte) (*File, error) {
	if err := checkText(name, src); err != nil {
		return nil, err
	}
	f := &File{paths: []string{name}, sources: map[string]*hcl.File{}}
	diags := f.parse(name, src)
	if !diags.HasErrors() {
		diags = append(diags, f.index([]hcl.Body{f.sources[name].Body})...)
	}
	if err := f.fail(diags); err != nil {
		return nil, err
	}
	return f, nil
}

// parse adds one file to the sources.
func (f *File) parse(name string, src []byte) hcl.Diagnostics {
	f.sources[name] = &hcl.File{Bytes: src}
	if diags := checkDepth(name, src); diags.HasErrors() {
		return diags
	}
	parsed, diags := hclsyntax.ParseConfig(src, name, hcl.InitialPos)
	f.sources[name] = parsed
	if body, ok := parsed.Body.(*hclsyntax.Body); ok && !diags.HasErrors() {
		countBody(body)
	}
	return diags
}

// index checks the shape of all bodies and files what the top level holds.
func (f *File) index(bodies []hcl.Body) hcl.Diagnostics {
	var diags hcl.Diagnostics
	var all hcl.BodyContent
	all.Attributes = hcl.Attributes{}
	for _, body := range bodies {
		diags = append(diags, fileShape.check(body)...)
		content, _ := body.Content(fileShape.schema())
		all.Blocks = append(all.Blocks, content.Blocks...)
		for name, attr := range content.Attributes {
			if first, twice := all.Attributes[name]; twice {
				diags = append(diags, mistake(attr.NameRange, "Duplicate setting",
					"%s is set already at %s; it can be set once for all files.", name, place(first.NameRange)))
				continue
			}
			all.Attributes[name] = attr
		}
	}
	diags = append(diags, onceOnly(all.Blocks, "aws", "telemetry", "timeouts")...)
	if diags.HasErrors() {
		return diags
	}

	first := map[string]hcl.Range{}
	for _, block := range all.Blocks.OfType("snapshotter") {
		name, at := block.Labels[0], block.LabelRanges[0]
		if !validName.MatchString(name) {
			diags = append(diags, mistake(at, "Invalid snapshotter name",
				"A snapshotter's name is 1 to 64 letters, digits, dots, dashes and underscores, and begins with a letter or digit."))
		}
		if other, twice := first[name]; twice {
			diags = append(diags, mistake(at, "Duplicate snapshotter",
				"A snapshotter named %q is declared already at %s; names must differ.", name, place(other)))
			continue
		}
		first[name] = at
		f.snapshotters = append(f.snapshotters, block)
	}
	f.engine = engineOf(&all)
	for _, block := range all.Blocks.OfType("aws") {
		var more hcl.Diagnostics
		f.aws, more = decodeAWS(block, os.Environ())
		diags = append(diags, more...)
	}
	for _, block := range all.Blocks.OfType("telemetry") {
		var more hcl.Diagnostics
		f.telemetry, more = decodeTelemetry(block, os.Environ())
		diags = append(diags, more...)
	}
	return diags
}

// Paths are the files the settings were read from.
func (f *File) Paths() []string { return slices.Clone(f.paths) }

// Names are the snapshotters, in the order of the files.
func (f *File) Names() []string {
	names := make([]string, 0, len(f.snapshotters))
	for _, block := range f.snapshotters {
		names = append(names, block.Labels[0])
	}
	return names
}

// AWS is what the aws block says; zero without one.
func (f *File) AWS() AWS { return f.aws }

// Telemetry is what the telemetry block says; zero without one.
func (f *File) Telemetry() Telemetry { return f.telemetry }

// find gives the block of a snapshotter, or an error that lists those there are.
func (f *File) find(name string) (*hcl.Block, error) {
	for _, block := range f.snapshotters {
		if block.Labels[0] == name {
			return block, nil
		}
	}
	return nil, &UnknownSnapshotter{Name: name, Known: f.Names(), Paths: f.Paths()}
}

// UnknownSnapshotter says that no snapshotter has the asked name.
type UnknownSnapshotter struct {
	Name  string
	Known []string // in the order of the files
	Paths []string
}

func (e *UnknownSnapshotter) Error() string {
	where := "the settings"
	if len(e.Paths) > 0 {
		where = list(e.Paths, "and")
	}
	if len(e.Known) == 0 {
		return fmt.Sprintf("no snapshotter named %q: %s declares none; add a block snapshotter %q { … }", e.Name, where, e.Name)
	}
	hint := ""
	if near := Nearest(e.Name, e.Known); near != "" {
		hint = fmt.Sprintf("; did you mean %q?", near)
	}
	return fmt.Sprintf("no snapshotter named %q: %s has %s%s", e.Name, where, list(quoted(e.Known), "and"), hint)
}
