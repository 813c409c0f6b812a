package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// liveMariaDB is a server under load with its redo log on a volume of its own. The probe gets the second option.
func liveMariaDB(t *testing.T, tables string) (r *probeRig, data, redo string) {
	t.Helper()
	r = newProbeRig(t, "mysql", "xfs", []string{"mysql", "redo"}, "mariadbd", "mariadb-install-db", "mariadb", "mariadb-check", "innochecksum")
	data, redo = r.life[0], "--innodb-log-group-home-dir="+r.life[1]
	r.sh("mariadb-install-db --no-defaults --user=mysql --datadir=%s --auth-root-authentication-method=socket --skip-test-db >install 2>&1; mv %s/ib_logfile0 %s", data, data, r.life[1])
	socket := "--socket=" + r.dir + "/run/s"
	r.env = append(r.env, "ASK=mariadb --no-defaults --user=root --batch --skip-column-names "+socket)
	r.server("$ASK -e 'SELECT 1'", fmt.Sprintf("mariadbd --no-defaults --user=mysql --datadir=%s %s --innodb-log-file-size=16M --innodb-buffer-pool-size=16M --innodb-fast-shutdown=0 --skip-networking --pid-file=%s/run/pid --event-scheduler=ON %s",
		data, redo, r.dir, socket))
	r.sh(`$ASK <<'END'
CREATE DATABASE d; USE d;
%s
CREATE TABLE events_seen (n int);
CREATE EVENT e ON SCHEDULE EVERY 1 SECOND DO INSERT INTO d.events_seen VALUES (1);
CREATE VIEW broken AS SELECT n FROM events_seen;
INSERT INTO t SELECT seq + 1000000, repeat('x', 200) FROM seq_1_to_20000;
END`, tables)
	r.load(3000, func(n int) string {
		return fmt.Sprintf("INSERT INTO d.%s VALUES (%d, repeat('y', 300));\n", []string{"t", "u"}[n%2], n)
	}, "mariadb", "--no-defaults", "--user=root", "--batch", socket)
	return r, data, redo
}

const innoDB = "CREATE TABLE t (n int PRIMARY KEY, s varchar(300), KEY (s)) ENGINE=InnoDB; CREATE TABLE u (n int PRIMARY KEY, s varchar(300)) ENGINE=Aria; CREATE TABLE m (s varchar(300)) ENGINE=MyISAM; INSERT INTO m SELECT repeat('z', 300) FROM seq_1_to_1000;"

func TestProbeMariaDBAcceptsACrashImageBesideTheLiveServer(t *testing.T) {
	r, data, redo := liveMariaDB(t, innoDB)
	images := r.copies()
	r.drill(images, nil)
	out := r.sound("mariadb", data, redo)
	t.Log(out)
	if log := r.sh("cat %s/scratch%d/tmp/log", r.dir, r.drills); !strings.Contains(log, "Starting crash recovery") {
		t.Errorf("there was nothing to recover:\n%s", log)
	}
	r.sh("$ASK -e \"INSERT INTO d.t VALUES (-1, 'live')\"")
	r.env = append(r.env, "PROBE_DEPTH=quick")
	r.drill(images, nil)
	if quick := r.sound("mariadb", data, redo); strings.Contains(quick, "sound:") {
		t.Errorf("not quick:\n%s", quick)
	}
}

func TestProbeMariaDBFindsDamage(t *testing.T) {
	r, data, redo := liveMariaDB(t, innoDB)
	r.sh("$ASK -e 'FLUSH TABLES d.m; FLUSH TABLES d.t FOR EXPORT; UNLOCK TABLES'") // the pages of the table are on disk
	images := r.copies()
	for _, tt := range []struct {
		name, want string
		args       []string
		damage     func(life func(string) string)
	}{
		{"a page of a table", "d.t", []string{data, redo}, func(life func(string) string) { flip(t, life(data)+"/d/t.ibd", 20*16384+1000, 200) }},
		{"a table cut off", "d/t", []string{data, redo}, func(life func(string) string) { r.sh("truncate -s 65536 %s/d/t.ibd", life(data)) }},
		{"the system tablespace", "ibdata1", []string{data, redo}, func(life func(string) string) { r.sh("truncate -s 1M %s/ibdata1", life(data)) }},
		{"the redo log", "InnoDB", []string{data, redo}, func(life func(string) string) { flip(t, life(r.life[1])+"/ib_logfile0", 4096, 8192) }},
		{"a MyISAM table", "d.m", []string{data, redo}, func(life func(string) string) { r.sh("truncate -s 16384 %s/d/m.MYD", life(data)) }},
		{"no option for the redo log", "ib_logfile0", []string{data}, nil},
		{"everything", "/mysql is missing", []string{data, redo}, func(life func(string) string) { r.sh("rm -rf %s/mysql", life(data)) }},
		{"the settings of the live server", "no my.cnf", []string{data, "--defaults-file=/etc/mysql/my.cnf"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r.t = t
			r.drill(images, tt.damage)
			r.finds(tt.want, "mariadb", tt.args...)
		})
	}
	r.t = t
}

// liveRedis is a server under load with append-only files, or with an RDB file.
func liveRedis(t *testing.T, options string) (r *probeRig, data string) {
	t.Helper()
	r = newProbeRig(t, "redis", "ext4", []string{"redis"}, "redis-server", "redis-cli", "redis-check-aof", "redis-check-rdb")
	data = r.life[0]
	r.server("[ \"$(redis-cli -s run/s ping)\" = PONG ]", fmt.Sprintf("%s redis-server --port 0 --unixsocket %s/run/s --dir %s --enable-debug-command yes %s", r.as(), r.dir, data, options))
	r.sh("redis-cli -s run/s debug populate 20000 key 100")
	return r, data
}

func redisSet(n int) string { return fmt.Sprintf("SET written:%d %0200d\n", n, n) }

func TestProbeRedisAcceptsAndFindsDamageInAppendOnlyFiles(t *testing.T) {
	r, data := liveRedis(t, "--appendonly yes --appendfsync always --save ''")
	r.sh("redis-cli -s run/s bgrewriteaof; while redis-cli -s run/s info persistence | grep -q 'aof_rewrite_in_progress:1'; do sleep 0.1; done")
	r.load(3000, redisSet, "redis-cli", "-s", r.dir+"/run/s")
	images := r.copies()
	r.drill(images, nil)
	out := r.sound("redis", data)
	t.Log(out)
	if !strings.Contains(out, " keys") || strings.Contains(out, "; 0 keys") {
		t.Errorf("it loaded nothing:\n%s", out)
	}
	last := func(life func(string) string, glob string) string {
		all, _ := filepath.Glob(life(data) + "/appendonlydir/" + glob)
		if len(all) == 0 {
			t.Fatalf("no %s", glob)
		}
		return all[len(all)-1]
	}
	// A command that is cut off is what a crash leaves.
	r.drill(images, func(life func(string) string) { r.sh("truncate -s -7 %s", last(life, "*.incr.aof")) })
	r.sound("redis", data)
	for _, tt := range []struct {
		name, want string
		damage     func(life func(string) string)
	}{
		{"the commands", "Bad file format", func(life func(string) string) { flip(t, last(life, "*.incr.aof"), 5000, 100) }},
		{"the base", "RDB", func(life func(string) string) { flip(t, last(life, "*.base.rdb"), 9000, 3) }},
		{"a missing file", "base.rdb", func(life func(string) string) { _ = os.Remove(last(life, "*.base.rdb")) }},
		{"everything", "nothing was restored", func(life func(string) string) { r.sh("rm -rf %s/*", life(data)) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r.t = t
			r.drill(images, tt.damage)
			r.finds(tt.want, "redis", data)
		})
	}
	r.t = t
	r.sh("redis-cli -s run/s set live yes")
}

func TestProbeRedisAcceptsAndFindsDamageInAnRDBFile(t *testing.T) {
	r, data := liveRedis(t, "--appendonly no --save '' --dbfilename main.rdb")
	r.sh("redis-cli -s run/s save")
	r.load(100, redisSet, "redis-cli", "-s", r.dir+"/run/s")
	images := r.copies()
	r.drill(images, nil)
	if out := r.sound("redis", data, "--dbfilename", "main.rdb"); !strings.Contains(out, "; 20000 keys") {
		t.Errorf("it loaded something else:\n%s", out)
	}
	r.drill(images, func(life func(string) string) { flip(t, life(data)+"/main.rdb", 9000, 3) })
	r.finds("redis-check-rdb main.rdb: [offset ", "redis", data, "--dbfilename", "main.rdb")
	r.drill(images, nil)
	r.finds("neither dump.rdb nor append-only files", "redis", data)
}

// SQLite with WAL, its writer busy: the WAL has what the file does not.
func TestProbeSQLiteAcceptsACrashImageAndFindsDamage(t *testing.T) {
	r := newProbeRig(t, "nobody", "ext4", []string{"app"}, "sqlite3")
	data := r.life[0]
	db := data + "/a folder/app.db"
	r.sh("mkdir '%s/a folder'; sqlite3 '%s' 'PRAGMA journal_mode=wal; CREATE TABLE t (n INTEGER PRIMARY KEY, s TEXT); CREATE INDEX i ON t (s);' >out; chown -R nobody '%s/a folder'", data, db, data)
	r.load(3000, func(n int) string {
		return fmt.Sprintf("INSERT INTO t VALUES (%d, hex(randomblob(100)));\n", n)
	}, "setpriv", "--reuid=nobody", "--clear-groups", "sqlite3", "-cmd", "PRAGMA synchronous=full", db)
	images := r.copies()
	r.sh("sqlite3 '%s' 'PRAGMA wal_checkpoint' >out", db)
	whole := r.copies()
	r.drill(images, func(life func(string) string) {
		if fi, err := os.Stat(life(db) + "-wal"); err != nil || fi.Size() == 0 {
			t.Errorf("there is no WAL to replay: %v", err)
		}
	})
	t.Log(r.sound("sqlite", data))
	for _, tt := range []struct {
		name, want, path string
		damage           func(life func(string) string)
	}{
		{"a page", "app.db: ", data, func(life func(string) string) { flip(t, life(db), 20*4096, 200) }},
		{"an index", "app.db: ", db, func(life func(string) string) {
			r.sh(`sqlite3 -cmd '.dbconfig defensive off' '%s' "PRAGMA writable_schema=on; UPDATE sqlite_schema SET sql = 'CREATE INDEX i ON t (s DESC)' WHERE name = 'i'"`, life(db))
		}},
		{"a file cut off", "malformed", db, func(life func(string) string) { r.sh("truncate -s 40960 '%s'; rm -f '%s'-*", life(db), life(db)) }},
		{"a missing file", "app.db is missing", db, func(life func(string) string) { _ = os.Remove(life(db)) }},
		{"no database", "no SQLite database", data, func(life func(string) string) { r.sh("rm -r '%s/a folder'", life(data)) }},
		{"something else", "is not an SQLite database", db, func(life func(string) string) { r.sh("rm -f '%s'-*; date >'%s'", life(db), life(db)) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r.t = t
			r.drill(whole, tt.damage)
			r.finds(tt.want, "sqlite", tt.path)
		})
	}
	r.t = t
}
