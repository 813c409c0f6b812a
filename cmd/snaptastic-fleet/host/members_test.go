package host

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"snaptastic-fleet/flow"
)

// A cluster is what its tags say, or an error that names the instance: never a set without a shard, or with one twice.
func TestInstancesAreHostsByTheirTags(t *testing.T) {
	byID := flow.Tagged{Tags: map[string]string{"cluster": "shards"}, ShardTag: "shard"}
	byName := byID
	byName.NameTag = "Name"
	three := byID
	three.AtLeast = 3
	i := func(id, shard, name string) instance {
		tags := map[string]string{"cluster": "shards"}
		if shard != "" {
			tags["shard"] = shard
		}
		if name != "" {
			tags["Name"] = name
		}
		return instance{ID: id, Tags: tags}
	}
	for what, c := range map[string]struct {
		by    flow.Tagged
		found []instance
		want  string // name=shard …, or a part of the error
		bad   bool
	}{
		"by id, in the order of shards": {byID, []instance{i("i-1", "2", ""), i("i-2", "1", "x")}, "i-2=1 i-1=2", false},
		"by name":                       {byName, []instance{i("i-1", "1", "db-1"), i("i-2", "2", "db-2")}, "db-1=1 db-2=2", false},
		"none":                          {byID, nil, "0 running instances have the tags cluster=shards, and at least 1 must", true},
		"fewer than at_least":           {three, []instance{i("i-1", "1", ""), i("i-2", "2", "")}, "2 running instances have the tags cluster=shards, and at least 3 must", true},
		"one shard twice":               {byID, []instance{i("i-1", "1", ""), i("i-2", "1", "")}, "i-1 and i-2 both have shard=1", true},
		"no shard":                      {byID, []instance{i("i-1", "1", ""), i("i-2", "", "")}, `i-2 has the tags cluster=shards and no tag "shard"`, true},
		"a shard that is no name":       {byID, []instance{i("i-1", "a b", "")}, `the tag "shard" of i-1 is "a b"`, true},
		"no name":                       {byName, []instance{i("i-1", "1", "")}, `no tag "Name"`, true},
		"one name twice":                {byName, []instance{i("i-1", "1", "db"), i("i-2", "2", "db")}, "i-1 and i-2 both have Name=db", true},
	} {
		hosts, err := membersOf(c.by, c.found)
		var got []string
		for _, h := range hosts {
			got = append(got, h.Name+"="+h.Shard)
		}
		switch {
		case c.bad && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q in it", what, err, c.want)
		case !c.bad && (err != nil || strings.Join(got, " ") != c.want):
			t.Errorf("%s: %v %v, want %s", what, got, err, c.want)
		}
	}
}

// A set that is labelled and not locked is labelled: it must not be undone for that.
func TestALockThatIsRefusedIsNoFailureOfTheLabel(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "snaptastic")
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	env.RegisterActivity((&Control{Program: Program{Path: program}}).Label)
	for body, labelled := range map[string]bool{
		`echo '{"set": "s", "locked": ["snap-1"], "lock_error": "no permission"}'; exit 3`: true,
		`echo '{"set": "s", "locked": ["snap-1", "snap-2"]}'`:                              true,
		`echo 'error: 1 of its 2 snapshots are there' >&2; exit 1`:                         false,
		`echo 'error: what is this' >&2; exit 3`:                                           false,
	} {
		if err := os.WriteFile(program, []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		v, err := env.ExecuteActivity((&Control{Program: Program{Path: program}}).Label, flow.SetRequest{Set: "s"})
		if (err == nil) != labelled {
			t.Errorf("%s: %v", body, err)
			continue
		}
		var r flow.SetResult
		if labelled && (v.Get(&r) != nil || len(r.Locked) == 0 || (r.NotLocked != "") != strings.Contains(body, "no permission")) {
			t.Errorf("%s: %+v", body, r)
		}
	}
}

// EC2 that does not answer is asked again; what an operator must mend is not.
func TestInstancesAreAskedForByTag(t *testing.T) {
	dir := t.TempDir()
	program := Program{Path: filepath.Join(dir, "snaptastic")}
	script := func(body string) {
		t.Helper()
		if err := os.WriteFile(program.Path, []byte("#!/bin/sh\necho \"$*\" > "+dir+"/asked\n"+body+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	env.RegisterActivity((&Control{Program: program}).Members)
	by := flow.Tagged{Tags: map[string]string{"b": "--yes", "a": "x y"}, ShardTag: "shard"}
	ask := func() (m flow.Members, err error) {
		v, err := env.ExecuteActivity((&Control{Program: program}).Members, by)
		if err == nil {
			err = v.Get(&m)
		}
		return m, err
	}
	script(`echo '[{"id": "i-1", "tags": {"shard": "7"}}]'`)
	m, err := ask()
	if err != nil || len(m.Hosts) != 1 || m.Hosts[0] != (flow.Host{Name: "i-1", Shard: "7"}) {
		t.Errorf("%+v %v", m, err)
	}
	if asked, _ := os.ReadFile(dir + "/asked"); string(asked) != "instances --tag a=x y --tag b=--yes -o json\n" {
		t.Errorf("asked: %s", asked)
	}
	for body, again := range map[string]bool{
		"echo 'error: EC2 does not answer' >&2; exit 1":  true,
		"echo 'error: unknown command' >&2; exit 2":      false,
		`echo '[{"id": "i-1", "tags": {}}]'`:             false,
		"echo '[]'":                                      false,
		"echo 'error: interrupted' >&2; kill -KILL $$\n": true,
	} {
		script(body)
		_, err := ask()
		var app *temporal.ApplicationError
		if err == nil || again == (errors.As(err, &app) && app.NonRetryable()) {
			t.Errorf("%s: %v", body, err)
		}
	}
}
