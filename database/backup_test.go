package database_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"entgo.io/ent/dialect"

	"daybook/database"
	"daybook/database/databasetest"
)

// asBackup is set in the environment of a process that makes backups instead of running tests: from and to its first two arguments,
// as often as the third one says.
const asBackup = "DATABASE_TEST_BACKUP"

func backupMain() error {
	count, err := strconv.Atoi(os.Args[3])
	for ; err == nil && count > 0; count-- {
		if err = database.Backup(context.Background(), os.Args[1], os.Args[2], nil); err == nil {
			fmt.Println("done")
		}
	}
	return err
}

func backupProcess(from, to string, count int) *osexec.Cmd {
	command := osexec.Command(os.Args[0], from, to, strconv.Itoa(count))
	command.Env = append(os.Environ(), asBackup+"=1")
	return command
}

// entries returns the names of the files in a folder.
func entries(t *testing.T, folder string) (names []string) {
	t.Helper()
	files, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		names = append(names, file.Name())
	}
	return names
}

// mustBackUp makes a backup to a new folder, which never begins anew.
func mustBackUp(t *testing.T, path string) (target string) {
	t.Helper()
	target = filepath.Join(t.TempDir(), "copy.db")
	last := int64(0)
	err := database.Backup(t.Context(), path, target, func(done, total int64) {
		if done <= last || done > total {
			t.Errorf("%d bytes of %d are done after %d", done, total, last)
		}
		last = done
	})
	if err != nil {
		t.Fatal(err)
	}
	return target
}

// checkIntegrity opens the database, and returns its driver.
func checkIntegrity(t *testing.T, path string) dialect.Driver {
	t.Helper()
	driver := reopen(t, path)
	if n := number(t, driver, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check = 'ok'"); n != 1 {
		t.Errorf("%s is damaged", path)
	}
	return driver
}

// series returns a table of the numbers from 1 to n, in the column value.
func series(n int) string {
	return fmt.Sprintf("(WITH RECURSIVE series (value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM series WHERE value < %d) "+
		"SELECT value FROM series)", n)
}

// TestBackupHasWhatWasCommittedBefore makes backups while 16 clients write.
func TestBackupHasWhatWasCommittedBefore(t *testing.T) {
	databasetest.SQLiteOnly(t)
	driver, path := open(t)
	exec(t, driver, "INSERT INTO note SELECT 'old ' || value FROM "+series(100_000))
	var committed [16]atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var clients sync.WaitGroup
	defer clients.Wait()
	defer stop()
	for client := range committed {
		clients.Go(func() {
			for n := int64(1); ctx.Err() == nil; n++ {
				if err := driver.Exec(t.Context(), insert, []any{fmt.Sprint(client, " ", n)}, nil); err != nil {
					t.Error(err)
					return
				}
				committed[client].Store(n)
			}
		})
	}
	for range 5 {
		var before [16]int64
		for client := range committed {
			before[client] = committed[client].Load()
		}
		copied := checkIntegrity(t, mustBackUp(t, path))
		for client, want := range before {
			if n := number(t, copied, fmt.Sprintf("SELECT count(*) FROM note WHERE value LIKE '%d %%'", client)); int64(n) < want {
				t.Errorf("client %d has %d rows in the copy, and had written %d", client, n, want)
			}
		}
	}
}

// TestBackupKeepsWhatSQLiteKeepsBesideRows has what an application finds again in the copy, which is one file.
func TestBackupKeepsWhatSQLiteKeepsBesideRows(t *testing.T) {
	databasetest.SQLiteOnly(t)
	driver, path := open(t)
	exec(t, driver, "CREATE TABLE book (id INTEGER PRIMARY KEY AUTOINCREMENT)")
	exec(t, driver, "INSERT INTO book VALUES (7)")
	exec(t, driver, "DELETE FROM book")
	exec(t, driver, "INSERT INTO note (rowid, value) VALUES (5, 'a')")
	exec(t, driver, "PRAGMA user_version = 12")
	exec(t, driver, "PRAGMA application_id = 34")
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	target := mustBackUp(t, path)
	if names := entries(t, filepath.Dir(target)); !slices.Equal(names, []string{"copy.db"}) {
		t.Errorf("in the folder are %q", names)
	}
	if info, err := os.Stat(target); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the mode is %v, %v", info.Mode(), err)
	}
	copied := checkIntegrity(t, target)
	for query, want := range map[string]int{
		"PRAGMA user_version":                          12,
		"PRAGMA application_id":                        34,
		"SELECT rowid FROM note":                       5,
		"INSERT INTO book DEFAULT VALUES RETURNING id": 8,
	} {
		if got := number(t, copied, query); got != want {
			t.Errorf("%s: %d, want %d", query, got, want)
		}
	}
}

// TestBackupKeepsTheLocks makes a backup in the process that has the database open. Without its lock, another process that closes
// the database can take itself for the last one, and remove the write-ahead log.
func TestBackupKeepsTheLocks(t *testing.T) {
	databasetest.SQLiteOnly(t)
	driver, path := open(t)
	exec(t, driver, insert, "a")
	locks := func() (n int) {
		all, err := os.ReadFile("/proc/locks")
		if err != nil {
			t.Skip(err)
		}
		for line := range strings.Lines(string(all)) {
			if strings.Contains(line, fmt.Sprintf(" %d ", os.Getpid())) && strings.Contains(line, " 1073741826 ") { // SQLite's SHARED
				n++
			}
		}
		return n
	}
	eventually(t, 10*time.Second, "the databases of other tests are closed", func() bool { return locks() == 1 })
	mustBackUp(t, path)
	if n := locks(); n != 1 {
		t.Errorf("the process has %d locks of the database after a backup", n)
	}
}

// TestBackupOfAFileThatNobodyUses leaves the database alone in its folder, in its journal mode.
func TestBackupOfAFileThatNobodyUses(t *testing.T) {
	databasetest.SQLiteOnly(t)
	for _, mode := range []string{"wal", "delete"} {
		path := filepath.Join(t.TempDir(), "test.db")
		driver, err := database.Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		exec(t, driver, "CREATE TABLE note (value TEXT)")
		exec(t, driver, "INSERT INTO note VALUES ('a')")
		if err := driver.Close(); err != nil {
			t.Fatal(err)
		}
		other, err := sql.Open(sqliteName(), path)
		if err == nil {
			_, err = other.ExecContext(t.Context(), "PRAGMA journal_mode = "+mode)
			err = errors.Join(err, other.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if n := number(t, checkIntegrity(t, mustBackUp(t, path)), "SELECT count(*) FROM note"); n != 1 {
			t.Errorf("%s: %d rows", mode, n)
		}
		after, err := os.ReadFile(path)
		if names := entries(t, filepath.Dir(path)); err != nil || len(names) != 1 || !bytes.Equal(after, before) {
			t.Errorf("%s: in the folder are %q, or the database was changed: %v", mode, names, err)
		}
	}
}

// TestRefusedBackup has databases and targets that cannot be, each with its sentence. Nothing is changed.
func TestRefusedBackup(t *testing.T) {
	databasetest.SQLiteOnly(t)
	driver, path := open(t)
	folder := filepath.Dir(path)
	in := func(name string) string { return filepath.Join(folder, name) }
	exec(t, driver, insert, "a")
	if err := errors.Join(
		os.WriteFile(in("letter.txt"), bytes.Repeat([]byte("Dear Anna, "), 1000), 0o600),
		os.WriteFile(in("open.db"), nil, 0o600),
		os.WriteFile(in("open.db-wal"), nil, 0o600),
		os.Symlink(path, in("link.db")),
		os.Symlink("letter.txt", in("other.db")),
		os.Symlink(folder, in("folder")),
		os.Link(path, in("hard.db")),
	); err != nil {
		t.Skip(err)
	}
	t.Chdir(folder)
	before := entries(t, folder)
	const itself = "is the database itself, or a part of it: use another path"
	for _, test := range []struct{ from, to, sentence string }{
		{path, path, itself},
		{path, path + "-wal", itself},
		{path, path + "-journal", itself}, // does not exist
		{path, filepath.Base(path) + "-journal", itself},
		{path, in("link.db"), itself},
		{path, in("hard.db"), itself},
		{path, filepath.Join(in("folder"), filepath.Base(path)+"-journal"), itself},
		{in("link.db"), path + "-shm", itself},
		{path, in("other.db"), "other.db is a symbolic link: use the path of the file that it leads to"},
		{path, in("open.db"), "open.db open, or was killed while it had: close it, or delete " + in("open.db-wal")},
		{path, folder, folder + " is a folder"},
		{path, in("none/copy.db"), "the folder " + in("none") + " does not exist"},
		{path, in("letter.txt/copy.db"), "letter.txt is not a folder"},
		{in("none.db"), in("copy.db"), "there is no database " + in("none.db")},
		{folder, in("copy.db"), folder + " is a folder"},
		{os.DevNull, in("copy.db"), os.DevNull + " is not a file"},
		{in("letter.txt"), in("copy.db"), "letter.txt is not a SQLite database"},
		{"postgres://anna:s3cr3t@localhost/daybook", in("copy.db"), "pg_dump"},
	} {
		err := database.Backup(t.Context(), test.from, test.to, nil)
		if err == nil || !strings.Contains(err.Error(), test.sentence) || strings.Contains(err.Error(), "\n") ||
			strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%s to %s: got %v, want %q", test.from, test.to, err, test.sentence)
		}
	}
	if after := entries(t, folder); !slices.Equal(after, before) {
		t.Errorf("in the folder are %q, there were %q", after, before)
	}
	if n := number(t, checkIntegrity(t, path), "SELECT count(*) FROM note"); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
}

// TestBackupThatIsStopped leaves the file that was there, and nothing else.
func TestBackupThatIsStopped(t *testing.T) {
	databasetest.SQLiteOnly(t)
	driver, path := open(t)
	exec(t, driver, "INSERT INTO note SELECT 'old ' || value FROM "+series(20000))
	target := filepath.Join(t.TempDir(), "copy.db")
	if err := os.WriteFile(target, []byte("the one before"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	err := database.Backup(ctx, path, target, func(done, total int64) {
		if done <= 0 || done > total {
			t.Errorf("%d bytes of %d are done", done, total)
		}
		stop()
	})
	if content, readErr := os.ReadFile(target); !errors.Is(err, context.Canceled) || readErr != nil || string(content) != "the one before" {
		t.Errorf("it ended with %v, and the file has %d bytes, %v", err, len(content), readErr)
	}
	if names := entries(t, filepath.Dir(target)); len(names) != 1 {
		t.Errorf("in the folder are %q", names)
	}
	var last, size int64
	if err := database.Backup(t.Context(), path, target, func(done, total int64) { last, size = done, total }); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(target); err != nil || last != size || info.Size() != size {
		t.Errorf("%d bytes of %d were done, the file has %d: %v", last, size, info.Size(), err)
	}
}

// TestTargetBecomesAFolder has another program use the name while the copy is written.
func TestTargetBecomesAFolder(t *testing.T) {
	databasetest.SQLiteOnly(t)
	_, path := open(t)
	target := filepath.Join(t.TempDir(), "copy.db")
	err := database.Backup(t.Context(), path, target, func(_, _ int64) {
		if err := os.Mkdir(target, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			t.Error(err)
		}
	})
	if names := entries(t, filepath.Dir(target)); err == nil || len(names) != 1 {
		t.Errorf("it ended with %v, and in the folder are %q", err, names)
	}
}

// TestFullDisk has no room for a copy: the file that was there stays, and an upgrade changes nothing.
func TestFullDisk(t *testing.T) {
	databasetest.SQLiteOnly(t)
	folder := t.TempDir()
	if err := osexec.Command("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder).Run(); err != nil {
		t.Skipf("a small file system cannot be mounted here, for which one has to be root on Linux: %v", err)
	}
	t.Cleanup(func() {
		if err := osexec.Command("umount", "--lazy", folder).Run(); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(folder, "test.db")
	driver := reopen(t, path)
	mustMigrate(t, driver, migrations(t, createFirst))
	exec(t, driver, "INSERT INTO first SELECT value FROM "+series(20000))
	exec(t, driver, "PRAGMA wal_checkpoint(TRUNCATE)")
	exec(t, driver, "CREATE TABLE filler AS SELECT zeroblob(400000)")
	exec(t, driver, "PRAGMA wal_checkpoint(TRUNCATE)")
	before := entries(t, folder)
	target := filepath.Join(folder, "copy.db")
	if err := database.Backup(t.Context(), path, target, nil); !database.IsFull(err) {
		t.Errorf("the backup ended with %v", err)
	}
	refuses(t, driver, migrations(t, createFirst, createSecond), "so nothing was changed: database or disk is full")
	if after := entries(t, folder); !slices.Equal(after, before) {
		t.Errorf("in the folder are %q, there were %q", after, before)
	}
}

// TestUpgradeLeavesACopy has several upgrades of one file, which is named by a symbolic link.
func TestUpgradeLeavesACopy(t *testing.T) {
	databasetest.SQLiteOnly(t)
	path := filepath.Join(t.TempDir(), "real.db")
	link := filepath.Join(t.TempDir(), "link.db")
	if err := os.Symlink(path, link); err != nil {
		t.Skip(err)
	}
	var log bytes.Buffer
	upgrade := func(texts ...string) {
		t.Helper()
		driver := reopen(t, link)
		if err := database.Migrate(t.Context(), driver, migrations(t, texts...), slog.New(slog.NewTextHandler(&log, nil))); err != nil {
			t.Fatal(err)
		}
		exec(t, driver, "INSERT INTO first (id) SELECT 1 + coalesce(max(id), 0) FROM first")
		if err := driver.Close(); err != nil {
			t.Fatal(err)
		}
	}
	upgrade(createFirst) // a new file
	upgrade(createFirst) // nothing to change
	if names := entries(t, filepath.Dir(path)); !slices.Equal(names, []string{"real.db"}) || log.Len() > 0 {
		t.Errorf("in the folder are %q; it logged\n%s", names, &log)
	}
	third := "CREATE TABLE third (id integer)"
	upgrade(createFirst, createSecond)
	upgrade(createFirst, createSecond, third)
	if names := entries(t, filepath.Dir(path)); !slices.Equal(names, []string{"real.db", "real.db.schema1", "real.db.schema2"}) {
		t.Errorf("in the folder are %q", names)
	}
	if n := strings.Count(log.String(), "copied the database"); n != 2 {
		t.Errorf("it logged %d copies:\n%s", n, &log)
	}
	for version := 1; version <= 2; version++ {
		copied := checkIntegrity(t, fmt.Sprint(path, ".schema", version))
		rows, tables := number(t, copied, "SELECT count(*) FROM first"), number(t, copied, "SELECT count(*) FROM applied_migrations")
		if rows != version+1 || tables != version || number(t, copied, "PRAGMA user_version") != version {
			t.Errorf("the copy of schema %d has %d rows and %d migrations", version, rows, tables)
		}
	}
}

// TestUpgradeWithoutACopyChangesNothing has something in the place of the copy.
func TestUpgradeWithoutACopyChangesNothing(t *testing.T) {
	databasetest.SQLiteOnly(t)
	path := databasetest.New(t)
	driver := reopen(t, path)
	mustMigrate(t, driver, migrations(t, createFirst))
	if err := os.Mkdir(path+".schema1", 0o700); err != nil {
		t.Fatal(err)
	}
	refuses(t, driver, migrations(t, createFirst, createSecond), "so nothing was changed: "+path+".schema1 is a folder")
	exec(t, driver, "INSERT INTO first VALUES (1)")
	if err := os.Remove(path + ".schema1"); err != nil {
		t.Fatal(err)
	}
	mustMigrate(t, driver, migrations(t, createFirst, createSecond))
}

// TestWayBackFromAnUpgrade follows what an older program says about a file that is too new.
func TestWayBackFromAnUpgrade(t *testing.T) {
	databasetest.SQLiteOnly(t)
	path := databasetest.New(t)
	folder := filepath.Dir(path)
	first := migrations(t, createFirst)
	third := migrations(t, createFirst, createSecond, "CREATE TABLE third (id integer)")
	driver, err := database.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	mustMigrate(t, driver, first)
	exec(t, driver, "INSERT INTO first VALUES (1)")
	mustMigrate(t, driver, migrations(t, createFirst, createSecond))
	mustMigrate(t, driver, third)
	exec(t, driver, "INSERT INTO first VALUES (2)")
	err = database.Migrate(t.Context(), driver, first, quiet)
	wanted := fmt.Sprintf("go back to %[1]s.schema1, which has what was recorded before the upgrade: stop every server, move %[1]s, "+
		"and %[1]s-wal and -shm if they exist, to another folder, and copy %[1]s.schema1 to %[1]s", path)
	if err == nil || !strings.HasSuffix(err.Error(), wanted) {
		t.Errorf("it says %v", err)
	}
	if err := driver.Close(); err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("mkdir another; mv %[1]s another; mv %[1]s-wal %[1]s-shm another; cp %[1]s.schema1 %[1]s", path)
	command := osexec.Command("sh", "-c", script)
	command.Dir = folder
	if err := command.Run(); err != nil {
		t.Fatal(err)
	}
	back := reopen(t, path)
	mustMigrate(t, back, first)
	if n := number(t, back, "SELECT sum(id) FROM first"); n != 1 {
		t.Errorf("the rows before the upgrade have the sum %d, want 1", n)
	}
	newer := reopen(t, filepath.Join(folder, "another", filepath.Base(path)))
	mustMigrate(t, newer, third)
	if n := number(t, newer, "SELECT sum(id) FROM first"); n != 3 {
		t.Errorf("the rows of the newer file have the sum %d, want 3", n)
	}
	if err := errors.Join(os.Remove(path+".schema1"), os.Remove(path+".schema2")); err != nil {
		t.Fatal(err)
	}
	refuses(t, newer, first, "start that version, or restore a backup from before the upgrade")
}

// BenchmarkRecordWhileBackedUp measures recording by 16 and 64 clients in alternate slices of time: alone, and beside another
// process that makes one backup after another. The ratio is that of the 99th percentiles.
func BenchmarkRecordWhileBackedUp(b *testing.B) {
	const slice = 4 * time.Second
	folder := b.TempDir()
	path := filepath.Join(folder, "test.db")
	driver, err := database.Open(b.Context(), path)
	if err != nil {
		b.Fatal(err)
	}
	defer driver.Close()
	for _, statement := range []string{
		"CREATE TABLE note (id INTEGER PRIMARY KEY, value TEXT)",
		"INSERT INTO note (value) SELECT printf('%0200d', value) FROM " + series(1_000_000), // 200 MB
	} {
		if err := driver.Exec(b.Context(), statement, []any{}, nil); err != nil {
			b.Fatal(err)
		}
	}
	for _, clients := range []int{16, 64} {
		b.Run(fmt.Sprint(clients), func(b *testing.B) {
			var alone, beside []time.Duration
			var done bytes.Buffer
			for b.Loop() {
				alone = append(alone, recordFor(b, driver, clients, slice)...)
				backups := backupProcess(path, filepath.Join(folder, "copy.db"), 1000)
				backups.Stdout = &done
				if err := backups.Start(); err != nil {
					b.Fatal(err)
				}
				beside = append(beside, recordFor(b, driver, clients, slice)...)
				_ = backups.Process.Kill()
				_ = backups.Wait()
			}
			p99 := func(times []time.Duration) float64 {
				slices.Sort(times)
				return times[len(times)*99/100].Seconds()
			}
			b.ReportMetric(float64(bytes.Count(done.Bytes(), []byte("\n"))), "backups")
			b.ReportMetric(p99(alone)*1e3, "ms-alone")
			b.ReportMetric(p99(beside)*1e3, "ms-beside")
			b.ReportMetric(p99(beside)/p99(alone), "ratio")
		})
	}
}

// recordFor records as fast as it goes, and returns how long each took.
func recordFor(b *testing.B, driver dialect.Driver, clients int, slice time.Duration) (times []time.Duration) {
	var mu sync.Mutex
	var recording sync.WaitGroup
	begun := time.Now()
	for range clients {
		recording.Go(func() {
			var own []time.Duration
			for time.Since(begun) < slice {
				started := time.Now()
				record(b, driver)
				own = append(own, time.Since(started))
			}
			mu.Lock()
			defer mu.Unlock()
			times = append(times, own...)
		})
	}
	recording.Wait()
	return times
}
