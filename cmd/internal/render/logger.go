package render

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// NewLogger writes to w: lines for people, or JSON. For the journal, each line has its priority instead of a time. level is
// trace, debug, info, warn, error or off; any other is an error.
func NewLogger(w io.Writer, level string, json, journal bool) (*slog.Logger, error) {
	o := &hclog.LoggerOptions{Name: "snaptastic", Level: hclog.LevelFromString(level), JSONFormat: json, DisableTime: journal}
	if o.Level == hclog.NoLevel {
		return nil, fmt.Errorf("%q: must be trace, debug, info, warn, error or off", level)
	}
	if !json {
		w = Cleaned(w)
	}
	o.Output = w
	if journal {
		o.Output = hclog.NewLeveledWriter(prioritized{w, priorityInfo}, map[hclog.Level]io.Writer{
			hclog.Error: prioritized{w, priorityError}, hclog.Warn: prioritized{w, priorityWarning},
			hclog.Debug: prioritized{w, priorityDebug}, hclog.Trace: prioritized{w, priorityDebug},
		})
	}
	return slog.New(hclogHandler{log: hclog.New(o)}), nil
}

// hclogHandler writes slog's records with hclog. Names of attributes in a group have the group's name in front.
type hclogHandler struct {
	log   hclog.Logger
	group string // with its dot
}

func (h hclogHandler) Enabled(_ context.Context, level slog.Level) bool {
	return h.log.GetLevel() <= hclogLevel(level)
}

func (h hclogHandler) Handle(_ context.Context, r slog.Record) error {
	var args []any
	r.Attrs(func(a slog.Attr) bool {
		args = h.appendAttr(args, a)
		return true
	})
	h.log.Log(hclogLevel(r.Level), r.Message, args...)
	return nil
}

func (h hclogHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	var args []any
	for _, a := range attrs {
		args = h.appendAttr(args, a)
	}
	h.log = h.log.With(args...)
	return h
}

func (h hclogHandler) WithGroup(name string) slog.Handler {
	h.group += name + "."
	return h
}

func (h hclogHandler) appendAttr(args []any, a slog.Attr) []any {
	return append(args, h.group+a.Key, a.Value.Resolve().Any())
}

func hclogLevel(level slog.Level) hclog.Level {
	switch {
	case level >= slog.LevelError:
		return hclog.Error
	case level >= slog.LevelWarn:
		return hclog.Warn
	case level >= slog.LevelInfo:
		return hclog.Info
	case level >= slog.LevelDebug:
		return hclog.Debug
	}
	return hclog.Trace
}
