package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
)

// busyTimeout is how long SQLite waits for a lock that a second process has (a backup, the sqlite3 command).
const busyTimeout = 5 * time.Second

// settings is what every connection begins with.
var settings = fmt.Sprintf("PRAGMA busy_timeout = %d;", busyTimeout.Milliseconds()) + `
	-- Readers and the writer do not block each other.
	PRAGMA journal_mode = WAL;
	-- A commit is flushed before it returns. NORMAL would lose the last ones when the power fails.
	PRAGMA synchronous = FULL;
	-- On macOS an ordinary flush stops at the disk's own cache.
	PRAGMA fullfsync = ON;
	-- Off by default, for the sake of databases from before 2009.
	PRAGMA foreign_keys = ON;
`

// readerSettings makes a connection unable to write: SQLite has no read-only transactions.
var readerSettings = settings + `
	PRAGMA query_only = ON;
	-- In KiB, of the 2000 that are usual: there are many readers, and what they share is in the system's cache.
	PRAGMA cache_size = -500;
`

// sqliteDriver is an ent driver on one file.
type sqliteDriver struct {
	entsql.Conn // ent's Exec and Query, by way of ExecContext and QueryContext
	writer      *writer
	readers     *readers
	watch       *watch
}

func openSQLite(ctx context.Context, path string) (dialect.Driver, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	d := newSQLite(path)
	if err := d.check(ctx, path); err != nil {
		return nil, errors.Join(fmt.Errorf("open database: %s", explain(path, err)), d.Close())
	}
	return d, nil
}

// newSQLite returns the driver, with no connection opened yet.
func newSQLite(path string) *sqliteDriver {
	// More readers than cores would only take turns, but one that sends all it reads to a slow client is no burden to the
	// processor, and others need not wait for it.
	size := max(16, 2*runtime.NumCPU())
	d := &sqliteDriver{
		readers: newReaders(openPool(path, connector{settings: readerSettings}, size), size),
		watch:   &watch{open: map[*tx]time.Time{}},
	}
	d.Conn = entsql.Conn{ExecQuerier: d}
	control := &control{}
	d.writer = &writer{
		db:      openPool(path, connector{settings: settings, control: control}, 1),
		control: control,
		readers: d.readers,
		watch:   d.watch,
		log:     wal{max: maxLog, hard: hardLog},
	}
	return d
}

// connector gives database/sql connections with settings of their own, without a name registered for all.
type connector struct {
	name     string
	settings string
	control  *control // nil for a reader
}

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := engine.Open(c.name)
	if err != nil {
		return nil, err
	}
	if err := c.configure(ctx, conn.(driver.ExecerContext)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	install(conn, c.control)
	return conn, nil
}

// configure applies the settings. While another process makes a new file one with a write-ahead log, or closes it, SQLite fails
// at once rather than after busyTimeout.
func (c connector) configure(ctx context.Context, conn driver.ExecerContext) error {
	ctx = context.WithoutCancel(ctx) // a connection outlives whoever was the first to need it
	for begun := time.Now(); ; time.Sleep(time.Millisecond) {
		_, err := conn.ExecContext(ctx, c.settings, nil)
		if !IsBusy(err) || time.Since(begun) > busyTimeout {
			return err
		}
	}
}

func (c connector) Driver() driver.Driver { return engine }

// check opens the first connections, and with them the file, and makes sure that it can be written.
func (d *sqliteDriver) check(ctx context.Context, path string) error {
	var mode string
	if err := d.writer.db.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&mode); err != nil {
		return err
	}
	if mode != "wal" {
		return fmt.Errorf("its file system does not support SQLite's write-ahead log (journal mode %s)", mode)
	}
	// SQLite opens a file that it may not write, begins IMMEDIATE there even, and says so only to the first statement.
	if _, err := d.writer.db.ExecContext(ctx, "BEGIN IMMEDIATE; CREATE TABLE daybook_probe (a); ROLLBACK"); err != nil && !IsBusy(err) {
		return err
	}
	if err := d.readers.db.PingContext(ctx); err != nil {
		return err
	}
	file, err := openFile(path)
	if err != nil {
		return err
	}
	d.writer.file, d.writer.log.path = file, file.log
	return nil
}

// Close closes the database: connections that are in use when they are given back. The last one copies the write-ahead log
// into the file, and removes it.
func (d *sqliteDriver) Close() error {
	d.watch.stop()
	return errors.Join(d.writer.close(), d.readers.db.Close(), d.writer.db.Close())
}

// Dialect tells ent which SQL to write.
func (d *sqliteDriver) Dialect() string { return dialect.SQLite }

// Tx returns a transaction for writing.
func (d *sqliteDriver) Tx(ctx context.Context) (dialect.Tx, error) { return d.BeginTx(ctx, nil) }

// BeginTx returns a transaction that begins with its first statement. Each is serializable, so the isolation
// level need not be looked at.
func (d *sqliteDriver) BeginTx(ctx context.Context, options *sql.TxOptions) (dialect.Tx, error) {
	t := &tx{watch: d.watch, trace: traceOf(ctx)}
	t.Conn = entsql.Conn{ExecQuerier: t}
	if options != nil && options.ReadOnly {
		t.role = &reader{readers: d.readers, log: &d.writer.log}
		return t, nil
	}
	t.role, t.writing = &member{writer: d.writer}, true
	return t, nil
}

// explain says what is wrong with the file at path, in words for whoever named it.
func explain(path string, err error) string {
	folder := filepath.Dir(path)
	if info, statErr := os.Stat(folder); errors.Is(statErr, os.ErrNotExist) {
		return fmt.Sprintf("%s: the folder %s does not exist", path, folder)
	} else if statErr == nil && !info.IsDir() {
		return fmt.Sprintf("%s: %s is not a folder", path, folder)
	}
	if info, statErr := os.Stat(path); statErr == nil && info.IsDir() {
		return path + " is a folder, not a file"
	}
	switch {
	case is(err, resultNotADB):
		return path + " is not a SQLite database"
	case is(err, resultCantOpen, resultReadOnly, resultPerm):
		return fmt.Sprintf("%s: the file and its folder must be writable (%s)", path, err)
	}
	return fmt.Sprintf("%s: %s", path, err)
}
