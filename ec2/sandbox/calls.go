package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Call is one line of the call log.
type Call struct {
	Time      time.Time         `json:"time"`
	Service   string            `json:"service"` // ec2, sts, imds
	Action    string            `json:"action"`
	Params    map[string]string `json:"params,omitempty"`
	Result    string            `json:"result"`           // ok, an error code; without effect: reset, abandoned
	Lost      bool              `json:"lost,omitempty"`   // the effect happened, the answer did not arrive
	Faults    []string          `json:"faults,omitempty"` // those that struck, in a word each
	RequestID string            `json:"request_id,omitempty"`
	Millis    float64           `json:"ms"`
	Process   int               `json:"pid"`
	World     string            `json:"world,omitempty"` // ACCOUNT/REGION, unless it is the default one
}

// faultName is the name by which faults know the call.
func (c *Call) faultName() string {
	if c.Service == "imds" {
		return "imds"
	}
	return c.Action
}

// callLog appends calls. Each line is one write with O_APPEND, so processes
// that share the folder do not mix their lines.
type callLog struct {
	path string
	mu   sync.Mutex
	file *os.File
}

func (l *callLog) add(c Call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil || !sameFile(l.file, l.path) {
		if !exists(filepath.Join(filepath.Dir(l.path), "world.jsonl")) {
			return // reset
		}
		file, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return
		}
		if l.file != nil {
			l.file.Close()
		}
		l.file = file
	}
	if line, err := json.Marshal(c); err == nil {
		l.file.Write(append(line, '\n')) // a log that is full must not fail a call
	}
}

func (l *callLog) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	file := l.file
	l.file = nil
	return file.Close()
}

// Log returns the calls that the sandbox in dir has answered, oldest first.
//
// Of a world's folder it returns the calls for that world.
func Log(dir string) ([]Call, error) {
	dir, world := SplitDir(dir)
	content, err := os.ReadFile(filepath.Join(dir, "log.jsonl"))
	if errors.Is(err, os.ErrNotExist) {
		if !exists(filepath.Join(dir, "world.jsonl")) {
			return nil, fmt.Errorf("cannot read the call log: %s holds no sandbox", dir)
		}
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the call log: %w", err)
	}
	var calls []Call
	for line := range bytes.Lines(content) {
		var call Call
		if json.Unmarshal(line, &call) == nil && (world == defaultWorld || call.World == world.key()) { // a line torn by a kill is no call
			calls = append(calls, call)
		}
	}
	return calls, nil
}
