package steps

import (
	"context"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"snaptastic/plan"
)

// A drill works in a folder of its own, below the state folder:
//
//	STATE/verify/RUN/root/…     the volumes, read-only, under the mount points of life
//	STATE/verify/RUN/replay/…   where each is mounted once, to replay its log
//	STATE/verify/RUN/scratch    an empty folder for the probe to write in
//
// It is known by the run alone, so that a plan can be compiled before there is one.

// scratchFolder is the drill's own.
func (w *Env) scratchFolder(run plan.RunID) string { return filepath.Join(w.ScratchDir, string(run)) }

// scratchRoot is below which the mount points of life appear.
func (w *Env) scratchRoot(run plan.RunID) string { return filepath.Join(w.scratchFolder(run), "root") }

// scratchPlace is where a mount point of life appears.
func (w *Env) scratchPlace(run plan.RunID, mountPoint string) string {
	return filepath.Join(w.scratchRoot(run), mountPoint)
}

// replayPlace is where the file system of a mount point is mounted to replay its log: never inside another one.
func (w *Env) replayPlace(run plan.RunID, mountPoint string) string {
	return filepath.Join(w.scratchFolder(run), "replay", url.PathEscape(strings.TrimPrefix(mountPoint, "/")))
}

// A Trial is what one step of a drill found out about a set. It is no failure of the step that a set is bad: the steps after
// it pass that on, and the last one tells.
type Trial struct {
	Bad   string        `json:"bad,omitempty"` // why the set cannot be restored, in words; "" as long as all is well
	Began time.Time     `json:"began"`
	Took  plan.Duration `json:"took"`
}

// trial measures what a step finds out.
func trial(find func() (bad string, err error)) (t Trial, err error) {
	t.Began = time.Now().UTC()
	t.Bad, err = find()
	t.Took = plan.Duration(time.Since(t.Began))
	return t, err
}

// takeDownScratch unmounts what a drill has mounted, and removes its folder.
func (w *Env) takeDownScratch(ctx context.Context, a plan.Attempt, drill plan.RunID) error {
	ended, err := w.Host.TakeDown(ctx, w.scratchFolder(drill))
	for _, who := range ended {
		w.log().Warn("a process still used the scratch volumes and was terminated", "step", a.Step, "process", who.String())
	}
	return err
}

// withoutScratch gives the paths in a text as they are in life: the drill's folder is gone when somebody reads it.
func (w *Env) withoutScratch(run plan.RunID, text string) string {
	folders := []string{w.scratchFolder(run)}
	if real, err := filepath.EvalSymlinks(w.ScratchDir); err == nil && real != w.ScratchDir { // as a probe may have it from getcwd
		folders = append(folders, filepath.Join(real, string(run)))
	}
	for _, folder := range folders {
		text = strings.ReplaceAll(text, filepath.Join(folder, "root")+"/", "/")
		text = strings.ReplaceAll(text, filepath.Join(folder, "root"), "/")
		text = strings.ReplaceAll(text, filepath.Join(folder, "scratch"), "$SNAPTASTIC_VERIFY_SCRATCH")
		text = strings.ReplaceAll(text, folder, "the drill's directory")
	}
	return text
}
