package render

import (
	"bytes"
	"io"
	"sync"

	"snaptastic/runner"
)

// Progress shows a live run. Event and Window are called from one goroutine,
// the scheduler's, and never wait for the reader of the output for long.
type Progress interface {
	// Event shows something that happened.
	Event(runner.Event)
	// Window is told when an atomic section opens and when it closed. Between
	// the two nothing is written: what shows or stores the output may sit
	// behind a frozen file system.
	Window(open bool)
	// Close shows how it ended and waits until that is written.
	Close()
}

// A Buffer is a writer that keeps what is written in memory while an atomic
// section is open, and passes it on afterwards. A log writes through one.
type Buffer struct {
	mu   sync.Mutex
	w    io.Writer
	open bool
	kept bytes.Buffer
}

// NewBuffer returns a Buffer that passes on to w.
func NewBuffer(w io.Writer) *Buffer { return &Buffer{w: w} }

// Write never fails while the section is open.
func (h *Buffer) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.open {
		return h.kept.Write(b)
	}
	return h.w.Write(b)
}

// redirect passes on to w from now on, and returns what it passed on to.
// Nothing is passed on while between runs.
func (h *Buffer) redirect(w io.Writer, between func()) io.Writer {
	h.mu.Lock()
	defer h.mu.Unlock()
	between()
	old := h.w
	h.w = w
	return old
}

// Hold opens or ends the holding. It waits for a write under way.
func (h *Buffer) Hold(open bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open = open
	if !open && h.kept.Len() > 0 {
		_, _ = h.kept.WriteTo(h.w) // who reads the log is gone; the run is not
		h.kept.Reset()
	}
}
