package ec2

import (
	"context"
	"fmt"
	"time"

	"snaptastic/ec2/ebs"
	"snaptastic/plan/units"
)

// WaitVolume polls a volume until done returns true or an error, which is returned unchanged. Each result before that
// goes to progress (may be nil). It returns a fault when the context ends, when the volume is in the state error, and
// when EC2 does not show it for the whole settle window. Throttling and transient failures only slow it down.
//
// All waits share their describes. done and progress run in the caller's goroutine.
func (c *Client) WaitVolume(ctx context.Context, id string, done func(Volume) (bool, error), progress func(Volume)) (Volume, error) {
	return await(ctx, &c.volumePolls, watch[Volume]{
		id: id, op: "DescribeVolumes", settle: c.config.SettleWindow, done: done, progress: progress, phase: volumePhase,
		broken: func(v Volume) string {
			if v.State == ebs.VolumeError {
				return "EC2 could not create it: its state is error"
			}
			return ""
		},
		lost: Fault{Code: "InvalidVolume.NotFound", hint: "this happens to encrypted volumes if the KMS key cannot be used: " +
			"check that the key is enabled and that the role may use it (kms:CreateGrant, kms:Decrypt, kms:GenerateDataKeyWithoutPlaintext)"},
	})
}

// WaitSnapshot is [Client.WaitVolume] for a snapshot of this account.
func (c *Client) WaitSnapshot(ctx context.Context, id string, done func(Snapshot) (bool, error), progress func(Snapshot)) (Snapshot, error) {
	return await(ctx, &c.snapshotPolls, watch[Snapshot]{
		id: id, op: "DescribeSnapshots", settle: c.config.SettleWindow, done: done, progress: progress,
		phase: func(s Snapshot) string { return fmt.Sprintf("%s, %d%%", s.State, s.Progress) },
		broken: func(s Snapshot) string {
			if s.State != ebs.SnapshotError {
				return ""
			}
			if s.StateMessage != "" {
				return "the snapshot failed: " + s.StateMessage
			}
			return "the snapshot failed; EC2 does not say why"
		},
		lost: Fault{Code: "InvalidSnapshot.NotFound", hint: "it was deleted, or belongs to another account"},
	})
}

// watch is the state of one wait.
type watch[T any] struct {
	id, op   string
	settle   time.Duration
	done     func(T) (bool, error)
	progress func(T)
	phase    func(T) string // for the message, when the wait ends without
	broken   func(T) string // not empty when done can no longer come about
	lost     Fault          // code and hint of a thing that EC2 does not show
}

func await[T any](ctx context.Context, p *poller[T], watch watch[T]) (last T, err error) {
	doing := "wait for " + watch.id
	begun := time.Now()
	shownAt, shown, failure := begun, false, error(nil)
	w := p.join(ctx, watch.id)
	defer p.leave(w)
	for {
		var s pollResult[T]
		select {
		case <-ctx.Done():
			return last, canceled(ctx, watch.op, doing, standing(watch, last, shown, failure, time.Since(begun)))
		case s = <-w.news:
		}
		if failure = s.err; failure != nil {
			if fault := Classify(watch.op, failure); !passing(fault.Class) {
				return last, fault.withDoing(doing)
			}
			continue
		}
		if !s.shown {
			if gone := time.Since(shownAt); gone >= watch.settle {
				return last, lost(watch, doing, shown, gone)
			}
			continue
		}
		last, shown, shownAt = s.thing, true, time.Now()
		if watch.progress != nil {
			watch.progress(last)
		}
		if ok, err := watch.done(last); ok || err != nil {
			return last, err
		}
		if why := watch.broken(last); why != "" {
			return last, &Fault{Op: watch.op, Doing: doing, Class: Invalid, Message: why, hint: watch.lost.hint}
		}
	}
}

func passing(class Class) bool {
	return class == Throttled || class == Transient || class == Canceled
}

// standing describes how far a wait had come when its time was over.
func standing[T any](watch watch[T], last T, shown bool, failure error, waited time.Duration) string {
	text := fmt.Sprintf(" after %s", units.Took(waited))
	if shown {
		text += ": it is still " + watch.phase(last)
	} else {
		text += ": EC2 does not show it"
	}
	if failure != nil {
		text += fmt.Sprintf("; the last poll failed: %v", failure)
	}
	return text
}

func lost[T any](watch watch[T], doing string, shown bool, gone time.Duration) *Fault {
	fault := watch.lost
	fault.Op, fault.Doing, fault.Class = watch.op, doing, NotFound
	fault.Message = fmt.Sprintf("EC2 does not show it after %s", units.Took(gone))
	if shown {
		fault.Message = fmt.Sprintf("it disappeared: EC2 does not show it for the last %s", units.Took(gone))
	}
	return &fault
}
