package linux

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestAwaitInstant(t *testing.T) {
	h := New(Roots{})
	at := time.Now().Add(50 * time.Millisecond)
	if _, err := h.AwaitInstant(context.Background(), at); err != nil {
		t.Fatal(err)
	}
	if now := time.Now().Round(0); now.Before(at.Round(0)) {
		t.Errorf("it woke %s too early", at.Sub(now))
	}
	if _, err := h.AwaitInstant(context.Background(), time.Now().Add(-time.Hour)); err != nil {
		t.Errorf("an instant that is over: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := h.AwaitInstant(ctx, time.Now().Add(time.Hour)); !errors.Is(err, context.Canceled) {
		t.Errorf("after a cancellation: %v", err)
	}
}

func TestTheKernelSaysHowRightItsClockIs(t *testing.T) {
	c, err := New(Roots{}).Clock()
	if err != nil {
		t.Fatal(err)
	}
	if c.MaxError < 0 || c.Synchronized && c.MaxError > 17*time.Second {
		t.Errorf("%+v", c)
	}
}
