package engine

import (
	"context"

	"snaptastic/cmd/internal/settings"
	"snaptastic/ec2"
	"snaptastic/steps/recipe"
)

// This file is for the commands that are not use cases yet: volumes, snapshots, check, clean, doctor. It goes with them.

func (e *Engine) Cloud(ctx context.Context) (*ec2.Client, error)          { return e.cloud(ctx) }
func (e *Engine) LoadSettings() error                                     { return e.loadSettings() }
func (e *Engine) File() *settings.File                                    { return e.file }
func (e *Engine) Spec(ctx context.Context, n string) (recipe.Spec, error) { return e.spec(ctx, n) }
func (e *Engine) SpecWarned(ctx context.Context, n string, warn func(*settings.Error)) (recipe.Spec, error) {
	return e.specWarned(ctx, n, warn)
}
func (e *Engine) Patiently(ctx context.Context, q func(context.Context) error) error {
	return e.patiently(ctx, q)
}
