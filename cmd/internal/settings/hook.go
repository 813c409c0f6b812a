package settings

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"snaptastic/steps/recipe"
)

// holdHooks may stay open while file systems are frozen: a process that holds
// a database's lock begins before the freeze and is ended after the thaw.
var holdHooks = []string{"pre_snapshots", "pre_snapshot"}

func (r *reader) hooks(blocks hcl.Blocks, spec *recipe.Spec) {
	first := map[string]hcl.Range{}
	for _, block := range blocks {
		name, at := block.Labels[0], block.LabelRanges[0]
		if name == unknownLabel {
			r.hook(block)
			continue
		}
		r.who = turn(block, fmt.Sprintf("the hook %q", name))
		switch known := slices.Contains(recipe.HookNames, name); {
		case !known && r.who != "":
			r.who = "a hook without a name" // the label may be anything of the userdata
			r.mistake(at, "Unknown hook", "The label that is made here is not one of %s.", list(recipe.HookNames, "and"))
		case !known:
			hint := ""
			if near := Nearest(name, recipe.HookNames); near != "" {
				hint = fmt.Sprintf(" Did you mean %q?", near)
			}
			r.mistake(at, "Unknown hook", "Expected one of %s; got %q.%s", list(recipe.HookNames, "or"), name, hint)
		}
		if other, twice := first[name]; twice {
			r.mistake(at, "Duplicate hook", "The hook %q is declared already at %s; let one command do both.", name, place(other))
		}
		first[name] = at
		if spec.Hooks == nil {
			spec.Hooks = map[string]recipe.Hook{}
		}
		spec.Hooks[name] = r.hook(block)
		r.who = ""
	}
}

func (r *reader) hook(block *hcl.Block) recipe.Hook {
	content, diags := block.Body.Content(hookShape.schema())
	r.diags = append(r.diags, diags...)
	attrs, name := content.Attributes, block.Labels[0]
	hook := recipe.Hook{
		Command: r.command(commandAttr.in(attrs)), Timeout: timeoutAttr.value(r, attrs), Repeatable: repeatableAttr.value(r, attrs),
		OnFailure: onFailureAttr.value(r, attrs), When: defaultWhen(name), Hold: holdAttr.value(r, attrs),
	}
	if word, ok := whenAttr.given(r, attrs); ok {
		r.when(whenAttr.in(attrs), name, word)
		hook.When = word
	}
	if hook.Hold && !slices.Contains(holdHooks, name) {
		r.invalid(holdAttr.in(attrs), "Only %s can be held open across the freeze.", list(holdHooks, "and"))
	}
	return hook
}

// mountHooks are told before they run whether there is anything to mount.
var mountHooks = []string{"pre_mounts", "pre_mount", "post_mount", "post_mounts"}

// when checks that the hook can be run then.
func (r *reader) when(attr *hcl.Attribute, name string, word recipe.When) {
	switch {
	case word == recipe.Changed && !slices.Contains(mountHooks, name):
		r.invalid(attr, "Only %s can run when something changes.", list(mountHooks, "and"))
	case word == recipe.Success && strings.HasPrefix(name, "pre_"):
		r.invalid(attr, "%s runs before there is a success or a failure; expected \"always\" or \"changed\".", name)
	case word == recipe.Always && strings.HasPrefix(name, "pre_") && !slices.Contains(mountHooks, name):
		r.mistake(attr.NameRange, "Unsupported argument", "%s always runs: only post hooks and the hooks of a mount have when.", name)
	}
}

// defaultWhen: what a pre hook stopped for a snapshot or an unmount is started
// again in any case; a database is not started over a volume that failed to
// mount, and not restarted by a mount that has nothing to do. Empty for other
// pre hooks: they always run.
func defaultWhen(name string) recipe.When {
	switch name {
	case "post_snapshot", "post_snapshots", "post_unmount", "post_unmounts":
		return recipe.Always
	case "post_mount":
		return recipe.Success
	case "pre_mounts", "post_mounts":
		return recipe.Changed
	}
	return ""
}

func (r *reader) command(attr *hcl.Attribute) []string {
	const want = "a list of words, such as [\"systemctl\", \"stop\", \"postgresql\"] (no shell reads it)"
	if attr == nil {
		return nil // the shape's own diagnostic says that it is missing
	}
	before := r.noted()
	words, ok := r.words(attr, nil, want)
	switch {
	case !ok && r.noted() == before:
		r.invalid(attr, "Expected %s; got null.", want)
	case !ok:
	case len(words) == 0:
		r.invalid(attr, "Expected %s; got an empty list.", want)
	case strings.TrimSpace(words[0]) == "":
		r.invalid(attr, "Expected %s; the program's name is empty.", want)
	case slices.ContainsFunc(words, func(word string) bool { return strings.Contains(word, "\x00") }):
		r.invalid(attr, "Expected %s; a word holds a NUL byte.", want)
	}
	return words
}
