//go:build man

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"snaptastic/cmd/internal/settings"
)

// manPreface is what the program's own page says besides its help, in Markdown.
const manPreface = `

# EXIT STATUS

**0** done, **1** failed, or "check" found a gap, **2** the command line or the settings are wrong; no changes made,
**3** some volumes failed, the others are done, **4** an operator must decide, **5** another run has the volume,
**130** interrupted; resumable.

# FILES

**./snaptastic.hcl, /etc/snaptastic.hcl, /etc/snaptastic/\*.hcl**: settings; see snaptastic.hcl(5).

**/var/lib/snaptastic**: the journals of all runs.

# ENVIRONMENT

**SNAPTASTIC_SETTINGS**: the settings file. **AWS_REGION**, **AWS_PROFILE**, **AWS_ACCESS_KEY_ID** and so on: as for every
program of the AWS SDK. **NO_COLOR**: no colour.`

// init makes a build with the tag man a tool that writes the manual pages into a folder: go run -tags man . DIR.
// The program itself has no code for it.
func init() {
	root := rootCommand(newApp(os.Stdin, os.Stdout, os.Stderr))
	root.Long += manPreface
	root.DisableAutoGenTag = true
	root.CompletionOptions.HiddenDefaultCmd = true
	if err := doc.GenManTree(root, &doc.GenManHeader{Source: "snaptastic " + version(), Manual: "Snaptastic"}, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "cannot write the manual:", err)
		os.Exit(1)
	}
	settingsPage(filepath.Join(os.Args[1], "snaptastic.hcl.5"))
	os.Exit(0)
}

// settingsPage writes snaptastic.hcl(5), with what makes the pages of commands.
func settingsPage(path string) {
	page := &cobra.Command{Use: "snaptastic.hcl", Short: "settings of snaptastic", Long: settings.Manual(), DisableFlagsInUseLine: true, DisableAutoGenTag: true}
	f, err := os.Create(path)
	if err == nil {
		err = errors.Join(doc.GenMan(page, &doc.GenManHeader{Title: "SNAPTASTIC.HCL", Section: "5", Source: "snaptastic " + version(), Manual: "Snaptastic"}, f), f.Close())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cannot write the manual:", err)
		os.Exit(1)
	}
}
