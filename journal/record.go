package journal

import (
	"encoding/json"
	"slices"
	"time"

	"snaptastic/plan"
)

// A State is the state of a step. A step without a record is pending.
//
//	          ┌────────────── next generation ──────────────┐
//	          ▼                                              │
//	pending ──► started ──► done ──────────► (undone) ───────┤
//	   │           │                                         │
//	   │           ├──────► failed ────────► (undone) ───────┘
//	   │           └──────► uncertain  (an operator decides)
//	   └──────────────────► skipped
type State string

const (
	Started   State = "started"   // its intent is durable; the effect may or may not be there
	Done      State = "done"      // its effect is there
	Failed    State = "failed"    // it was tried and did not succeed; never memoised: a resume tries again
	Skipped   State = "skipped"   // a step it needs failed, or its lane is left alone
	Uncertain State = "uncertain" // a crash inside an unrepeatable hook
)

// An Undo is the state of the rollback of a step.
type Undo string

const (
	UndoStarted Undo = "started"
	Undone      Undo = "undone"
	Kept        Undo = "kept" // left in place, not destroyed: the note names what remains
)

// A Record is the truth about one step of one run.
type Record struct {
	State      State              `json:"state"`
	Generation int                `json:"generation"`
	Attempts   int                `json:"attempts,omitempty"` // tries of all generations
	Token      string             `json:"token,omitempty"`
	Input      json.RawMessage    `json:"input,omitempty"` // resolved; a retry uses this one
	Seen       plan.ObservedState `json:"seen,omitempty"`  // before the first start of this generation
	Before     json.RawMessage    `json:"before,omitempty"`
	Output     json.RawMessage    `json:"output,omitempty"`
	Facts      *plan.Facts        `json:"facts,omitempty"` // what the output means; nil for none, and in journals of earlier versions
	Error      string             `json:"error,omitempty"`
	Hint       string             `json:"hint,omitempty"`
	Note       string             `json:"note,omitempty"`
	BootID     string             `json:"boot_id,omitempty"` // kernel's boot id when it was done
	StartedAt  time.Time          `json:"started_at,omitzero"`
	EndedAt    time.Time          `json:"ended_at,omitzero"`
	EverDone   bool               `json:"ever_done,omitempty"` // in any generation
	Undo       Undo               `json:"undo,omitempty"`
	Mark       json.RawMessage    `json:"mark,omitempty"` // how far a long step has come: plan.Attempt.Mark
	// Discarded says why the effect of an earlier generation was of no use and undone.
	Discarded string `json:"discarded,omitempty"`
	// RecordedAt is when the record was handed to the journal; zero in journals of earlier versions.
	RecordedAt time.Time `json:"recorded_at,omitzero"`
	// Retries are the tries of this process that failed and were repeated, oldest first, at most MaxRetries.
	Retries []Retry `json:"retries,omitempty"`
}

// A Retry is a try that failed, and the wait before the next one.
type Retry struct {
	At          time.Time `json:"at"` // when it failed
	WaitSeconds float64   `json:"wait_seconds"`
	Error       string    `json:"error"`
}

// MaxRetries is how many retries of a step are recorded: the first ones, and the last.
const MaxRetries = 32

// AddRetry notes one more. It leaves the array of a list that is full alone, as a record may hold it.
func AddRetry(list []Retry, r Retry) []Retry {
	if len(list) == MaxRetries {
		list = list[: MaxRetries-1 : MaxRetries-1]
	}
	return append(list, r)
}

// Adopted says that the effect was there before the step began: it is never
// undone.
func (r Record) Adopted() bool { return r.Seen == plan.Satisfied }

// Effect reports whether the step may have changed anything that a rollback would
// have to undo or an operator to decide on. A hook that ran to its end has not:
// hooks are not undone, and its closing hook has run.
func (r Record) Effect(s *plan.Step, atomic bool) bool {
	switch {
	case s.ReadOnly:
		return false
	case s.ObserveBy == plan.Blind && !atomic:
		return r.State == Started || r.State == Uncertain
	}
	return r.Began() || r.EverDone && !r.Adopted()
}

// Began reports whether the step's effect may exist because of this run.
func (r Record) Began() bool { return r.Token != "" && r.Seen != plan.Satisfied }

// An Outcome is the state of a run.
type Outcome string

const (
	Unfinished  Outcome = ""            // live while its file is locked, interrupted otherwise
	Interrupted Outcome = "interrupted" // stopped by a signal; resumable
	RunFailed   Outcome = "failed"
	RunDone     Outcome = "done"
	RolledBack  Outcome = "rolled-back"
	Abandoned   Outcome = "abandoned"
	Aborted     Outcome = "aborted" // failed, or was stopped, before it changed anything
)

// Ended reports that the run is final: nothing continues or undoes it.
func (o Outcome) Ended() bool {
	return o == RunDone || o == RolledBack || o == Abandoned || o == Aborted
}

// Meta describes a run.
type Meta struct {
	Run        plan.RunID `json:"run"`
	Version    string     `json:"version"` // of the program that made it
	InstanceID string     `json:"instance_id"`
	BootID     string     `json:"boot_id"` // when it was made
	Digest     string     `json:"digest"`  // of the plan
	Created    time.Time  `json:"created"`
	Ended      time.Time  `json:"ended,omitzero"`
	Outcome    Outcome    `json:"outcome"`
	Error      string     `json:"error,omitempty"` // first failure, in a sentence
	// ActiveSeconds is how long processes were at work on the run, without the time that it lay idle or the machine was down.
	ActiveSeconds float64 `json:"active_seconds,omitempty"`
	// Kept is what a rollback left, in sentences: volumes that were in use, snapshots that were labelled.
	Kept []string `json:"kept,omitempty"`
	// RollingBack: a rollback began; only a rollback may continue the run.
	RollingBack bool `json:"rolling_back,omitempty"`
	// UndoneBy is the run that put back what this one, finished, had replaced.
	UndoneBy plan.RunID `json:"undone_by,omitempty"`
	// UndoLanes are those that the rollback keeps to; none means every lane.
	UndoLanes []string `json:"undo_lanes,omitempty"`
	// Processes are those that worked on the run, oldest first; none in journals of earlier versions.
	Processes []Process `json:"processes,omitempty"`
	// Key is the caller's name for what the run does, and Asked the command line that it stands for; "" for none.
	Key   string `json:"key,omitempty"`
	Asked string `json:"asked,omitempty"`
	// LeftOut says why a run works on fewer volumes than were asked for; "" where it does not.
	LeftOut string `json:"left_out,omitempty"`
	// Ending is what its last process came to, of a run with a key.
	Ending *Ending `json:"ending,omitempty"`
	// CloudConfig is how the run connected to EC2; nil in runs that did not record it.
	CloudConfig *CloudConfig `json:"reach,omitempty"`
}

// An Ending is what a process came to, as far as the records of the steps do not say: enough to print the result again.
type Ending struct {
	Rollback bool      `json:"rollback,omitempty"` // it undid the run
	Failures []Failure `json:"failures,omitempty"`
	Done     []string  `json:"done,omitempty"`   // lanes all of whose steps are done
	Failed   []string  `json:"failed,omitempty"` // lanes with a failed or skipped step
}

// A Failure is a step that failed.
type Failure struct {
	Step          plan.StepID `json:"step"`
	Lane          string      `json:"lane,omitempty"`
	Error         string      `json:"error"`
	Hint          string      `json:"hint,omitempty"`
	NeedsOperator bool        `json:"needs_operator,omitempty"`
}

// A Process is one process's part of a run.
type Process struct {
	PID      int       `json:"pid"`
	Version  string    `json:"version"` // of the program
	BootID   string    `json:"boot_id"`
	Rollback bool      `json:"rollback,omitempty"` // it undid the run
	Began    time.Time `json:"began"`
	Ended    time.Time `json:"ended,omitzero"` // zero: it was killed, or is at work
}

// maxProcesses is how many processes of a run are recorded: the first one, and the last ones. Each boot that fails
// adds one.
const maxProcesses = 100

// AddProcess records a process that starts or continues the run.
func (m *Meta) AddProcess(p Process) {
	list := slices.Clone(m.Processes)
	if len(list) == maxProcesses {
		list = slices.Delete(list, 1, 2)
	}
	m.Processes = append(list, p)
}

// EndProcess records that the newest process has finished its part.
func (m *Meta) EndProcess(at time.Time) {
	m.Processes = slices.Clone(m.Processes)
	if n := len(m.Processes); n > 0 {
		m.Processes[n-1].Ended = at.UTC()
	}
}

// A CloudConfig is how to connect to EC2. It contains no credentials.
type CloudConfig struct {
	Region      string            `json:"region,omitempty"`
	EndpointURL string            `json:"endpoint_url,omitempty"`
	MetadataURL string            `json:"metadata_url,omitempty"`
	Profile     string            `json:"profile,omitempty"`
	Environ     map[string]string `json:"environ,omitempty"` // of the SDK's variables, those that were set
}

// An Entry is one journal entry: a step's new record, or the run's new
// meta (when Step is empty).
type Entry struct {
	Step   plan.StepID `json:"step,omitempty"`
	Record *Record     `json:"record,omitempty"`
	Meta   *Meta       `json:"meta,omitempty"`
}
