package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"snaptastic/cmd/internal/engine"
	"snaptastic/cmd/internal/render"
	"snaptastic/cmd/internal/render/report"
)

func reportCommand(a *app) *cobra.Command {
	return &cobra.Command{Use: "report RUN [FILE]", Short: "Write an HTML report of one run: timeline, freeze, EC2 calls, failures",
		Long: `Write one run as a single HTML page: a timeline of its lanes, the freeze window, EC2 calls, what went wrong
and what to do about it, ids and versions. It is made from the journal alone and can be read anywhere, without
network access. FILE defaults to snaptastic-RUN.html; - is stdout.`,
		Args: between(1, "RUN", "FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			file := ""
			if len(args) > 1 {
				file = args[1]
			}
			return a.report(engine.RunID(args[0]), file)
		}}
}

// report writes the page of a run; file "" is a name made of the run's id.
func (a *app) report(run engine.RunID, file string) error {
	r, err := a.Report(run)
	if err != nil {
		return err
	}
	if file == "" {
		file = "snaptastic-" + string(r.Run) + ".html"
	}
	return a.writePage(file, func(w io.Writer) error { return report.Run(w, r, a.repeated) })
}

// writePage writes a whole page, or leaves the file as it was. It tells where the page is.
func (a *app) writePage(file string, write func(io.Writer) error) error {
	var page bytes.Buffer
	if err := write(&page); err != nil {
		return err
	}
	if file == "-" {
		_, err := a.stdout.Write(page.Bytes())
		return err
	}
	if err := replaceFile(file, page.Bytes()); err != nil {
		return &engine.Error{Code: engine.Failed, Err: engine.WithHint("choose another file; - writes to stdout", fmt.Errorf("cannot write %s: %w", file, err))}
	}
	if a.json() {
		return render.JSON(a.stdout, map[string]any{"file": file, "size_bytes": page.Len()})
	}
	_, err := fmt.Fprintf(a.stdout, "wrote %s\n", render.Clean(file))
	return err
}

// replaceFile writes a file beside the old one and renames it. A new one is readable by its owner alone: a report may hold
// what a hook printed. One that is replaced keeps its mode. What is not a regular file, such as /dev/stdout, is written to.
func replaceFile(path string, body []byte) (err error) {
	mode := os.FileMode(0o600)
	switch old, err := os.Stat(path); {
	case err == nil && old.IsDir():
		return errors.New("it is a directory")
	case err == nil && !old.Mode().IsRegular():
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return plainCause(err)
		}
		_, err = f.Write(body)
		return errors.Join(err, f.Close())
	case err == nil:
		mode = old.Mode().Perm()
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".snaptastic-*")
	if err != nil {
		return plainCause(err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(body)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return plainCause(err)
	}
	return plainCause(os.Rename(f.Name(), path))
}

// plainCause is the cause of a file's error, without the temporary name.
func plainCause(err error) error {
	if at, ok := errors.AsType[*os.PathError](err); ok {
		return at.Err
	}
	if at, ok := errors.AsType[*os.LinkError](err); ok {
		return at.Err
	}
	return err
}
