package main

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// A wire is what a host's worker reaches the server through. Cut, it passes nothing, and says nothing either.
type wire struct {
	mu   sync.Mutex
	off  bool
	lost int // messages, since it was cut
}

func newWire(t testing.TB, to string) (*wire, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	w := &wire{}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go w.carry(c, to)
		}
	}()
	return w, l.Addr().String()
}

func (w *wire) carry(c net.Conn, to string) {
	defer c.Close()
	far, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer far.Close()
	done := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{c, far}, {far, c}} {
		go func() {
			defer func() { done <- struct{}{} }()
			b := make([]byte, 32<<10)
			for {
				n, err := way[0].Read(b)
				if w.isCut() {
					w.loses(n)
					w.wait()
					return
				}
				if _, bad := way[1].Write(b[:n]); err != nil || bad != nil {
					if errors.Is(err, io.EOF) || err != nil {
						return
					}
				}
			}
		}()
	}
	<-done
}

func (w *wire) isCut() bool { w.mu.Lock(); defer w.mu.Unlock(); return w.off }

func (w *wire) wait() {
	for w.isCut() {
		time.Sleep(50 * time.Millisecond)
	}
}

func (w *wire) loses(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n > 0 {
		w.lost++
	}
}

// hasLost reports whether something was to pass while it was cut.
func (w *wire) hasLost() bool { w.mu.Lock(); defer w.mu.Unlock(); return w.lost > 0 }

func (w *wire) cut()       { w.mu.Lock(); w.off, w.lost = true, 0; w.mu.Unlock() }
func (w *wire) reconnect() { w.mu.Lock(); w.off = false; w.mu.Unlock() }
