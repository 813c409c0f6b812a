package render

import "testing"

func TestACommandInAHintRepeatsTheFlagsThatItNeeds(t *testing.T) {
	flags := FlagsOf([2]string{"--state-dir ", "/srv/my state"}, [2]string{"--settings ", ""}, [2]string{"--sandbox=", "/srv/sb"})
	for in, want := range map[string]string{
		"":                    "",
		"nothing to type":     "nothing to type",
		"`snaptastic runs`":   "`snaptastic runs --state-dir '/srv/my state' --sandbox=/srv/sb`",
		"`lsblk -f` shows it": "`lsblk -f` shows it",
		"find out, then `snaptastic resume R --redo S` or `snaptastic abandon R`; see `lsblk`": "find out, then `snaptastic resume R --redo S --state-dir '/srv/my state' --sandbox=/srv/sb`" +
			" or `snaptastic abandon R --state-dir '/srv/my state' --sandbox=/srv/sb`; see `lsblk`",
		"an open `snaptastic quote": "an open `snaptastic quote",
	} {
		if got := flags.Repeat(in); got != want {
			t.Errorf("%q\nbecomes %q,\nwant    %q", in, got, want)
		}
		if got := Flags("").Repeat(in); got != in {
			t.Errorf("without flags %q becomes %q", in, got)
		}
	}
}
