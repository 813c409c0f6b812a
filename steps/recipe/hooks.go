package recipe

import (
	"time"

	"snaptastic/plan"
	"snaptastic/steps"
)

// A bracket is what a pair of hooks has between them. Where the post hook runs whatever happened, it is a section of the
// plan; where it runs on success only, there are just edges.
type bracket struct {
	base    string      // mounts, mount, …: the hooks are pre_base and post_base
	section string      // "" for none
	pre     plan.StepID // "" without a pre hook
	ran     plan.Value[steps.HookRan]
	late    bool // the pre hook comes after the looks
}

// body puts a step between the hooks.
func (k bracket) body() plan.Option {
	if k.section == "" {
		return together()
	}
	return plan.In(k.section)
}

// first puts a step between the hooks and right after the pre hook.
func (k bracket) first() plan.Option { return together(k.body(), plan.After(k.pre)) }

// begins puts a step between the hooks that a late pre hook has to be waited for in.
func (k bracket) begins() plan.Option {
	if k.late {
		return k.first()
	}
	return k.body()
}

// open adds the pre hook, if there is one: once, or for the volume when that is given.
func (c *compiler) open(base string, of *Volume, known []steps.HookVolume, options ...plan.Option) bracket {
	k := bracket{base: base}
	pre, hasPre := c.spec.Hooks["pre_"+base]
	post, hasPost := c.spec.Hooks["post_"+base]
	if hasPost && post.When == Always {
		k.section = "hooks:" + base
		if of != nil {
			k.section += ":" + of.MountPoint
		}
		c.b.Section(k.section, plan.Bracket)
	}
	if !hasPre || pre.Hold { // a held hook belongs to the freeze
		return k
	}
	if k.section != "" {
		options = append(options, plan.Opens(k.section))
	}
	k.pre, k.ran = c.hook("pre_"+base, pre, of, known, plan.Value[steps.HookRan]{}, options...)
	return k
}

// close adds the post hook, if there is one, and returns its id. On success only it comes after the named steps; always,
// after all that is between the hooks has ended.
func (c *compiler) close(k bracket, of *Volume, known []steps.HookVolume, after []plan.StepID, options ...plan.Option) plan.StepID {
	post, hasPost := c.spec.Hooks["post_"+k.base]
	if !hasPost {
		return ""
	}
	if k.section != "" {
		options = append(options, plan.Closes(k.section))
	} else {
		options = append(options, plan.After(after...), plan.After(k.pre))
	}
	id, _ := c.hook("post_"+k.base, post, of, known, k.ran, options...)
	return id
}

func (c *compiler) hook(name string, h Hook, of *Volume, known []steps.HookVolume, pre plan.Value[steps.HookRan], options ...plan.Option) (plan.StepID, plan.Value[steps.HookRan]) {
	step := plan.StepID("hook:" + name)
	title := plan.Title("run the %s hook", name)
	if of != nil {
		step = id("hook:"+name, *of)
		title = plan.Title("run the %s hook of %s", name, of.MountPoint)
		options = append(options, plan.InLane(of.MountPoint))
	}
	if !h.Repeatable {
		options = append(options, plan.Once())
	}
	if h.OnFailure == ContinueRun {
		options = append(options, plan.Tolerated())
	}
	in := c.hookIn(name, h, of, known)
	if in.IfChanged = h.When == Changed && !c.HooksOwed; in.IfChanged {
		in.Pre = pre
	}
	return step, plan.Add(c.b, steps.Hook, step, in, title, plan.Within(h.Timeout+hookGrace), together(options...))
}

func (c *compiler) hookIn(name string, h Hook, of *Volume, known []steps.HookVolume) steps.HookIn {
	in := steps.HookIn{Name: name, Command: h.Command, Timeout: plan.Duration(h.Timeout), Tolerated: h.OnFailure == ContinueRun,
		Operation: c.operation, Snapshotter: c.spec.Name, Volumes: known}
	if of != nil {
		in.Of = of.MountPoint
	}
	return in
}

// hookVolumes lists all volumes for a hook; tell adds what is known of one. A hook for one volume is told of that one
// alone: whatever it is told of it also waits for.
func (c *compiler) hookVolumes(tell func(Volume, *steps.HookVolume)) []steps.HookVolume {
	var out []steps.HookVolume
	for _, v := range c.spec.Volumes {
		h := steps.HookVolume{Device: v.Device, MountPoint: v.MountPoint, FileSystem: v.FileSystem}
		if tell != nil {
			tell(v, &h)
		}
		out = append(out, h)
	}
	return out
}

// programs are what the hooks of this operation run.
func (c *compiler) programs() []string {
	var out []string
	for _, name := range HookNames {
		if h, ok := c.spec.Hooks[name]; ok && len(h.Command) > 0 && belongs(name, c.operation) {
			out = append(out, h.Command[0])
		}
	}
	return out
}

func belongs(hook, op string) bool {
	for _, when := range []string{"pre_", "post_"} {
		if hook == when+op || hook == when+op+"s" {
			return true
		}
	}
	return false
}

// held are the hooks that hold something across a freeze.
func (c *compiler) held(volumes []Volume, plural bool, tell func(Volume, *steps.HookVolume)) (in []steps.HookIn, longest time.Duration) {
	add := func(name string, of *Volume) {
		if h := c.spec.Hooks[name]; h.Hold {
			in = append(in, c.hookIn(name, h, of, c.hookVolumes(tell)))
			longest += h.Timeout
		}
	}
	if plural {
		add("pre_snapshots", nil)
	}
	for _, v := range volumes {
		add("pre_snapshot", &v)
	}
	return in, longest
}

// shownHeld is what the plan shows of held hooks.
func shownHeld(hooks []steps.HookIn) (out []plan.Held) {
	for _, h := range hooks {
		out = append(out, plan.Held{Hook: h.Name, Of: h.Of, Command: h.Command, Tolerated: h.Tolerated})
	}
	return out
}
