package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// change is one committed transaction: the records that it writes, and null for those that it deletes. It is one JSON
// line of world.jsonl; the state is all lines applied in order.
type change struct {
	Settings  *settings            `json:"settings,omitempty"` // of the default world
	Worlds    map[string]*settings `json:"worlds,omitempty"`
	Machines  map[string]*settings `json:"machines,omitempty"` // those that have names
	Volumes   map[string]*Volume   `json:"volumes,omitempty"`
	Snapshots map[string]*Snapshot `json:"snapshots,omitempty"`
	Instances map[string]*Instance `json:"instances,omitempty"`
	Images    map[string]*Image    `json:"images,omitempty"`
	Tokens    map[string]*token    `json:"tokens,omitempty"`
	Hits      map[string]*hits     `json:"hits,omitempty"`
}

func newChange() change {
	return change{
		Worlds: map[string]*settings{}, Machines: map[string]*settings{}, Volumes: map[string]*Volume{}, Snapshots: map[string]*Snapshot{}, Instances: map[string]*Instance{},
		Images: map[string]*Image{}, Tokens: map[string]*token{}, Hits: map[string]*hits{},
	}
}

func (c *change) empty() bool {
	return c.Settings == nil && len(c.Worlds)+len(c.Machines)+len(c.Volumes)+len(c.Snapshots)+len(c.Instances)+len(c.Images)+len(c.Tokens)+len(c.Hits) == 0
}

// fold applies next on top of c.
func (c *change) fold(next *change) {
	if next.Settings != nil {
		c.Settings = next.Settings
	}
	foldRows(c.Worlds, next.Worlds)
	foldRows(c.Machines, next.Machines)
	foldRows(c.Volumes, next.Volumes)
	foldRows(c.Snapshots, next.Snapshots)
	foldRows(c.Instances, next.Instances)
	foldRows(c.Images, next.Images)
	foldRows(c.Tokens, next.Tokens)
	foldRows(c.Hits, next.Hits)
}

func foldRows[T any](rows, next map[string]*T) {
	for key, row := range next {
		if row == nil {
			delete(rows, key)
		} else {
			rows[key] = row
		}
	}
}

// store is this process's copy of the state. All its methods need the folder's lock.
//
// A commit appends one line with one write, so a process killed at any point leaves at most an incomplete last line,
// which the next one drops. Nothing is fsynced: a sandbox survives the death of its process, not a power failure.
type store struct {
	path  string
	file  *os.File
	read  int64  // bytes of the file folded into rows
	lines int    // lines folded
	rows  change // the sandbox

	volumes   ordered[Volume, *Volume]
	snapshots ordered[Snapshot, *Snapshot]
	copies    map[string]*Snapshot // those of CopySnapshot that may be under way
}

// fold applies a committed change.
func (s *store) fold(next *change) {
	s.volumes.note(s.rows.Volumes, next.Volumes)
	s.snapshots.note(s.rows.Snapshots, next.Snapshots)
	s.rows.fold(next)
	for id, c := range next.Snapshots {
		if c != nil && c.Source != nil && !c.Deleted {
			s.copies[id] = c
		} else {
			delete(s.copies, id)
		}
	}
}

// errReset is what requests get after Reset removed the folder below them.
var errReset = errors.New("the sandbox was reset")

// catchUp folds what other processes have committed since the last call.
func (s *store) catchUp() (changed bool, err error) {
	if s.file != nil {
		same, err := s.isCurrent()
		if err != nil {
			return false, err
		}
		if !same { // another process compacted
			s.file.Close()
			s.file = nil
		}
	}
	if s.file == nil {
		if err := s.open(); err != nil {
			return false, err
		}
	}
	info, err := s.file.Stat()
	if err != nil {
		return false, fmt.Errorf("cannot read %s: %w", s.path, err)
	}
	if info.Size() == s.read {
		return false, nil
	}
	return true, s.foldFrom(info.Size())
}

func (s *store) isCurrent() (bool, error) {
	ours, err := s.file.Stat()
	if err != nil {
		return false, fmt.Errorf("cannot read %s: %w", s.path, err)
	}
	current, err := os.Stat(s.path)
	if errors.Is(err, os.ErrNotExist) {
		return false, errReset
	}
	if err != nil {
		return false, fmt.Errorf("cannot read %s: %w", s.path, err)
	}
	return os.SameFile(ours, current), nil
}

func (s *store) open() error {
	file, err := os.OpenFile(s.path, os.O_RDWR|os.O_CREATE|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("cannot open the sandbox's state: %w", err)
	}
	s.file, s.read, s.lines, s.rows = file, 0, 0, newChange()
	s.volumes, s.snapshots = ordered[Volume, *Volume]{}, ordered[Snapshot, *Snapshot]{}
	s.copies = map[string]*Snapshot{}
	return nil
}

// foldFrom reads from s.read to size and drops a torn last line.
func (s *store) foldFrom(size int64) error {
	content := make([]byte, size-s.read)
	if _, err := s.file.ReadAt(content, s.read); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("cannot read %s: %w", s.path, err)
	}
	for {
		line, rest, complete := bytes.Cut(content, []byte("\n"))
		if !complete {
			break
		}
		var next change
		if err := json.Unmarshal(line, &next); err != nil {
			return fmt.Errorf("cannot read line %d of %s: %w", s.lines+1, s.path, err)
		}
		s.fold(&next)
		s.read += int64(len(line)) + 1
		s.lines++
		content = rest
	}
	if len(content) > 0 {
		if err := s.file.Truncate(s.read); err != nil {
			return fmt.Errorf("cannot drop the torn end of %s: %w", s.path, err)
		}
	}
	return nil
}

// commit writes the change to the file and then applies it here.
func (s *store) commit(c *change) error {
	line, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("internal error: cannot encode a change: %w", err)
	}
	line = append(line, '\n')
	if _, err := s.file.WriteAt(line, s.read); err != nil {
		return errors.Join(fmt.Errorf("cannot write %s: %w", s.path, err), s.file.Truncate(s.read))
	}
	s.read += int64(len(line))
	s.lines++
	s.fold(c)
	return s.compact()
}

// compact rewrites the file once most of its lines are history.
func (s *store) compact() error {
	rows := len(s.rows.Volumes) + len(s.rows.Snapshots) + len(s.rows.Tokens) + len(s.rows.Images) + len(s.rows.Instances)
	if s.lines < 2000+4*rows {
		return nil
	}
	line, err := json.Marshal(s.rows)
	if err != nil {
		return fmt.Errorf("internal error: cannot encode the world: %w", err)
	}
	line = append(line, '\n')
	temporary := s.path + ".tmp"
	if err := os.WriteFile(temporary, line, 0o600); err != nil {
		return fmt.Errorf("cannot compact %s: %w", s.path, err)
	}
	file, err := os.OpenFile(temporary, os.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cannot compact %s: %w", s.path, err)
	}
	if err := errors.Join(file.Sync(), os.Rename(temporary, s.path)); err != nil {
		file.Close()
		return fmt.Errorf("cannot compact %s: %w", s.path, err)
	}
	s.file.Close()
	s.file, s.read, s.lines = file, int64(len(line)), 1
	return nil
}

func (s *store) close() error {
	if s.file == nil {
		return nil
	}
	file := s.file
	s.file = nil
	return file.Close()
}

// writeFile replaces a small file in one step.
func writeFile(path, content string) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = temporary.WriteString(content)
	if err = errors.Join(err, temporary.Chmod(0o644), temporary.Close()); err == nil {
		err = os.Rename(temporary.Name(), path)
	}
	if err != nil {
		os.Remove(temporary.Name())
	}
	return err
}
