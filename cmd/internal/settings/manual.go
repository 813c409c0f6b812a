//go:build man

package settings

import (
	"fmt"
	"regexp"
	"strings"

	"snaptastic/ec2/ebs"
	"snaptastic/steps/recipe"
)

// manualBlocks say what a block is for.
var manualBlocks = map[string]string{
	"aws":         "How to reach EC2. Without it, the SDK's default chain and the instance's own metadata.",
	"copy":        "Where copies of the snapshots go, in another region or account.",
	"hook":        "A program that runs before or after an operation. The label is one of the names in hook names, below.",
	"keep":        "Which sets of snapshots a clean-up keeps, with the meaning that these rules have for restic forget.",
	"lock":        "Locks the snapshots of each new set once it is labelled, so that nobody deletes them before their time (EBS snapshot lock).",
	"snapshotter": "A set of volumes that are mounted, snapshotted and restored together. The label is its name in commands.",
	"telemetry":   "Where traces of runs are sent, by OTLP/HTTP, after each run.",
	"timeouts":    "How long to wait for things. What a snapshotter says wins over the top level.",
	"verify":      "Drills: what a restored set has to pass.",
	"volume":      "An EBS volume. The label is its EC2 device name, such as /dev/sdf.",
	"warm":        "What of a restored volume is read before it is needed.",
}

var manualLink = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)

// Manual is snaptastic.hcl(5) in Markdown, made from the declarations of all attributes.
func Manual() string {
	var b strings.Builder
	b.WriteString(`The settings of snaptastic(1), in HCL 2. They are read from --settings, else $SNAPTASTIC_SETTINGS, else ./snaptastic.hcl, else
/etc/snaptastic.hcl together with /etc/snaptastic/\*.hcl. A file that others than its owner or root may write is refused: its hooks run as root.

"snaptastic init" writes a first file, "snaptastic validate" checks one. Expressions may use **userdata** (the instance's, a JSON object), **instance** (id, type,
region, availability_zone, account_id, tags), **env**, and in description **volume**. Volumes and hooks may be written as dynamic blocks.

# EXAMPLE

    snapshotter "solr" {
      filter_tags  = { role = "solr", environment = "production" }
      expire_after = "7d"

      volume "/dev/sdf" {
        mount_point = "/mnt/solr"
        size        = 20
      }
    }

# TOP LEVEL

`)
	fileShape.manual(&b)
	seen := map[string]bool{}
	fileShape.manualBlocks(&b, seen)
	b.WriteString("# SEE ALSO\n\nsnaptastic(1), snaptastic-init(1), snaptastic-validate(1), /usr/share/doc/snaptastic/docs/settings.md\n")
	return b.String()
}

func (s *shape) manualBlocks(b *strings.Builder, seen map[string]bool) {
	for _, name := range sortedKeys(s.blocks) {
		if seen[name] {
			continue
		}
		seen[name] = true
		inner, label := s.blocks[name], ""
		if inner.label != "" {
			label = ` "` + strings.ToUpper(inner.label) + `"`
		}
		what := manualBlocks[name]
		if what == "" {
			panic("internal error: no word about the block " + name)
		}
		fmt.Fprintf(b, "# %s%s { ... }\n\n%s\n\n", name, label, what)
		inner.manual(b)
		inner.manualBlocks(b, seen)
	}
}

// manual writes a paragraph for each attribute.
func (s *shape) manual(b *strings.Builder) {
	for _, a := range s.attrs {
		r := a.row()
		def := r.def
		if def != isRequired {
			def = "default " + def
		}
		fmt.Fprintf(b, "**%s** (%s; %s): %s.\n\n", r.name, r.kind, manualLink.ReplaceAllString(def, "$1"), strings.TrimSuffix(manualLink.ReplaceAllString(r.meaning, "$1"), "."))
	}
	switch s {
	case hookShape:
		fmt.Fprintf(b, "Hook names: %s. The plural runs once, the singular for each volume.\n\n", list(recipe.HookNames, "and"))
	case volumeShape:
		fmt.Fprintf(b, "Volume types: %s.\n\n", list(ebs.TypeNames, "and"))
	}
}
