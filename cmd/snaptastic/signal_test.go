package main

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestASignalIsACancellationThatNamesTheSignal(t *testing.T) {
	ctx, stop := stopOnSignal(context.Background())
	defer stop()
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ctx.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the signal did not end the context")
	}
	// A wait that ends for this reason is taken up by a resume; any other
	// error would fail its step.
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "hangup") {
		t.Errorf("the context ended with %v", err)
	}
}
