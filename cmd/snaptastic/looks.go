package main

import (
	"context"
	"fmt"

	"snaptastic/cmd/internal/engine"
	"snaptastic/cmd/internal/settings"
	"snaptastic/ec2"
	"snaptastic/steps/recipe"
)

// This file gives the commands that are not use cases of the engine yet (volumes, snapshots, check, clean, doctor) what they
// share with it. It goes with them.

func hinted(hint string, format string, a ...any) error {
	return &engine.Error{Code: engine.Failed, Err: fmt.Errorf(format, a...), Hint: hint}
}

func (a *app) cloud(ctx context.Context) (*ec2.Client, error)          { return a.Cloud(ctx) }
func (a *app) loadSettings() error                                     { return a.LoadSettings() }
func (a *app) spec(ctx context.Context, n string) (recipe.Spec, error) { return a.Spec(ctx, n) }
func (a *app) specWarned(ctx context.Context, n string, warn func(*settings.Error)) (recipe.Spec, error) {
	return a.SpecWarned(ctx, n, warn)
}
func (a *app) patiently(ctx context.Context, q func(context.Context) error) error {
	return a.Patiently(ctx, q)
}
