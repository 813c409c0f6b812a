package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// livePostgreSQL is a server under load with its log and a tablespace on volumes of their own.
func livePostgreSQL(t *testing.T, fileSystem string, checksums bool) (r *probeRig, data string) {
	t.Helper()
	bins, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	if len(bins) == 0 {
		t.Skip("PostgreSQL is not installed")
	}
	bin := bins[len(bins)-1]
	r = newProbeRig(t, "postgres", fileSystem, []string{"data", "wal", "space"}, bin+"/pg_amcheck", "psql")
	r.env = append(r.env, "PATH="+bin+":"+os.Getenv("PATH"), "PGHOST="+r.dir+"/run", "PGUSER=postgres", "PGDATABASE=postgres")
	data = r.life[0] + "/main"
	sums := ""
	if checksums {
		sums = "--data-checksums"
	}
	r.sh("%s initdb -D %s -X %s/wal --auth=trust %s >initdb 2>&1", r.as(), data, r.life[1], sums)
	// What must not be taken over by a probe.
	r.sh("echo \"shared_preload_libraries = 'absent'\nlisten_addresses = '*'\nport = 1\" >%s/postgresql.auto.conf", data)
	r.server("psql -c 'SELECT 1'", fmt.Sprintf("%s postgres -D %s -k %s/run -c listen_addresses= -c port=5432 -c shared_preload_libraries= -c shared_buffers=32MB -c max_prepared_transactions=3 -c max_connections=40 -c wal_level=logical",
		r.as(), data, r.dir))
	r.sh(`psql -v ON_ERROR_STOP=1 <<'END'
CREATE TABLESPACE space LOCATION '%s';
CREATE TABLE t (n int PRIMARY KEY, s text);
CREATE TABLE u (n int PRIMARY KEY USING INDEX TABLESPACE space, s text) TABLESPACE space;
CREATE DATABASE other;
INSERT INTO t SELECT -n, repeat('x', 100) FROM generate_series(1, 20000) n;
SELECT pg_create_logical_replication_slot('slot', 'test_decoding');
CHECKPOINT;
BEGIN; INSERT INTO u VALUES (-1, 'prepared'); PREPARE TRANSACTION 'p';
END`, r.life[2])
	r.load(3000, func(n int) string {
		return fmt.Sprintf("INSERT INTO %s VALUES (%d, repeat('y', 500));\n", []string{"t", "u"}[n%2], n)
	}, "psql", "-qX")
	return r, data
}

// A probe beside the live server, which has the same paths, socket and port: recovery has work to do, and the live server notices nothing.
func TestProbePostgreSQLAcceptsACrashImageBesideTheLiveServer(t *testing.T) {
	for _, fileSystem := range []string{"ext4", "xfs"} {
		t.Run(fileSystem, func(t *testing.T) {
			r, data := livePostgreSQL(t, fileSystem, fileSystem == "xfs")
			auto := r.sh("cat %s/postgresql.auto.conf", data)
			r.drill(r.copies(), nil)
			out := r.sound("postgresql", data)
			t.Log(out)
			if !strings.Contains(out, "in production; starting") || !strings.Contains(out, "3 databases") {
				t.Errorf("not the image of a running server:\n%s", out)
			}
			r.sh("psql -v ON_ERROR_STOP=1 -c 'INSERT INTO t VALUES (-100000); CHECKPOINT'")
			if now := r.sh("cat %s/postgresql.auto.conf", data); now != auto {
				t.Errorf("the live configuration is now %s", now)
			}
			r.sh("test -e %s/postmaster.pid", data)
		})
	}
}

func TestProbePostgreSQLFindsDamage(t *testing.T) {
	r, data := livePostgreSQL(t, "ext4", true)
	table := filepath.Join(data, r.sh("psql -qAt -c \"SELECT pg_relation_filepath('t')\""))
	index := filepath.Join(data, r.sh("psql -qAt -c \"SELECT pg_relation_filepath('t_pkey')\""))
	images := r.copies()
	for _, tt := range []struct {
		name, want string
		volumes    int
		damage     func(life func(string) string)
	}{
		{"a table", "invalid page in block 3", 3, func(life func(string) string) { flip(t, life(table), 3*8192+40, 8) }},
		{"an index", "invalid page in block 1", 3, func(life func(string) string) { flip(t, life(index), 8192+400, 8) }},
		{"the control file", "pg_control is missing", 3, func(life func(string) string) { _ = os.Remove(life(data) + "/global/pg_control") }},
		{"bytes of the control file", "pg_control is damaged", 3, func(life func(string) string) { flip(t, life(data)+"/global/pg_control", 40, 4) }},
		{"the log", "could not locate a valid checkpoint record", 3, func(life func(string) string) { r.sh("truncate -s 0 %s/wal/0*", life(r.life[1])) }},
		{"the volume of the log", "(pg_wal) is not on a restored volume", 1, nil},
		{"the volume of a tablespace", r.life[2] + " (pg_tblspc/", 2, nil},
		{"everything", "PG_VERSION is missing", 3, func(life func(string) string) { r.sh("rm -rf %s", life(data)) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r.t = t
			r.drill(images[:tt.volumes], tt.damage)
			r.finds(tt.want, "postgresql", data)
		})
	}
	r.t = t
}

// Without checksums only pg_amcheck sees that an index and its table disagree.
func TestProbePostgreSQLFindsAnIndexThatDisagrees(t *testing.T) {
	r, data := livePostgreSQL(t, "ext4", false)
	r.sh(`psql -v ON_ERROR_STOP=1 -c "CREATE TABLE v AS SELECT n FROM generate_series(1, 1000) n" -c "CREATE INDEX v_n ON v (n)" -c "CHECKPOINT"`)
	index := filepath.Join(data, r.sh("psql -qAt -c \"SELECT pg_relation_filepath('v_n')\""))
	images := r.copies()
	r.drill(images, func(life func(string) string) { flip(t, life(index), 2*8192-24, 1) }) // the key of the first entry
	r.finds(`item order invariant violated for index "v_n"`, "postgresql", data)
}

// A standby's volumes: replayed as a standby and promoted.
func TestProbePostgreSQLAcceptsAStandby(t *testing.T) {
	r, data := livePostgreSQL(t, "ext4", true)
	r.drill(r.copies(), func(life func(string) string) {
		r.sh("echo \"primary_conninfo = 'host=%s/run'\nrestore_command = 'cp /nowhere/%%f %%p'\" >%s/postgresql.auto.conf; touch %s/standby.signal", r.dir, life(data), life(data))
	})
	r.sound("postgresql", data)
}

// However a probe ends, its server and its mounts end with it.
func TestProbePostgreSQLLeavesNothingWhenItIsKilled(t *testing.T) {
	r, data := livePostgreSQL(t, "ext4", true)
	images := r.copies()
	for _, tt := range []struct {
		name string
		kill func(pid int)
	}{
		{"SIGTERM", func(pid int) { _ = syscall.Kill(pid, syscall.SIGTERM) }},
		{"SIGTERM of the group", func(pid int) { _ = syscall.Kill(-pid, syscall.SIGTERM) }},
		{"SIGKILL", func(pid int) { _ = syscall.Kill(pid, syscall.SIGKILL) }},
		{"SIGKILL of the group", func(pid int) { _ = syscall.Kill(-pid, syscall.SIGKILL) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r.t = t
			r.drill(images, nil)
			name := fmt.Sprint(filepath.Base(r.dir), "-", r.drills) // is in the title of each process
			cmd := r.command("postgresql", data, "-c", "cluster_name="+name)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			private := func() string {
				out, _ := r.try("pgrep -f '[p]ostgres: " + name + "'")
				return strings.TrimSpace(out)
			}
			for deadline := time.Now().Add(time.Minute); strings.Count(private(), "\n") < 3; time.Sleep(20 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("there is no private server")
				}
			}
			tt.kill(cmd.Process.Pid)
			if err := cmd.Wait(); err == nil {
				t.Error("it ended well")
			}
			for deadline := time.Now().Add(20 * time.Second); private() != ""; time.Sleep(20 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("running: %s", r.sh("ps -fp %s", strings.ReplaceAll(private(), "\n", ",")))
				}
			}
			r.takeDown()
		})
	}
	r.t = t
	r.sh("psql -c 'SELECT 1'")
}
