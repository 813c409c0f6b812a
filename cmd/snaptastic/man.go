//go:build man

package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra/doc"
)

// manPreface is what the program's own page says besides its help, in Markdown.
const manPreface = `

# EXIT STATUS

**0** done, **1** failed, or "check" found a gap, **2** the command line or the settings are wrong; no changes made,
**3** some volumes failed, the others are done, **4** an operator must decide, **5** another run has the volume,
**130** interrupted; resumable.

# FILES

**./snaptastic.hcl, /etc/snaptastic.hcl, /etc/snaptastic/\*.hcl**: settings; see /usr/share/doc/snaptastic/settings.md.

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
	os.Exit(0)
}
