package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
)

// busyTimeout is how long SQLite waits for the lock of another process (a backup, the sqlite3 command).
const busyTimeout = 5 * time.Second

// settings are those of every connection.
var settings = fmt.Sprintf("PRAGMA busy_timeout = %d;", busyTimeout.Milliseconds()) + `
	-- Readers and the writer do not block each other.
	PRAGMA journal_mode = WAL;
	-- A commit is flushed before it returns. With NORMAL, a power failure loses the last commits.
	PRAGMA synchronous = FULL;
	-- On macOS an ordinary flush stops at the disk's own cache.
	PRAGMA fullfsync = ON;
	-- Off by default, for databases from before 2009.
	PRAGMA foreign_keys = ON;
`

// writerSettings are those of the connection that writes.
var writerSettings = settings + `
	-- What is deleted is overwritten in the file. By default, its text stays there until the space is used again.
	PRAGMA secure_delete = ON;
	-- copyLog does it.
	PRAGMA wal_autocheckpoint = 0;
`

// readerSettings make a connection unable to write: SQLite has no read-only transactions.
var readerSettings = settings + `
	PRAGMA query_only = ON;
	-- 500 KiB instead of 2000: there are many readers, and the system caches what they share.
	PRAGMA cache_size = -500;
`

// sqliteDriver is an ent driver for one file.
type sqliteDriver struct {
	entsql.Conn // ent's Exec and Query, which call ExecContext and QueryContext
	writer      *writer
	readers     *pool
	watch       *watch
}

// openSQLite opens the file at path, which is created if it is missing.
func openSQLite(ctx context.Context, path string) (dialect.Driver, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	// Twice the cores keep the processor busy. 16 are for readers that wait, for a slow client for example.
	size := max(16, 2*runtime.NumCPU())
	d := &sqliteDriver{
		readers: newPool(connectTo(path, connector{settings: readerSettings}), size),
		writer:  &writer{maxLog: maxLog, hardLog: hardLog},
		watch:   &watch{open: map[*tx]time.Time{}},
	}
	d.Conn = entsql.Conn{ExecQuerier: d}
	d.writer.driver = d
	d.writer.db = connectTo(path, connector{settings: writerSettings, control: &d.writer.control})
	d.writer.db.SetMaxOpenConns(1)
	err = d.check(ctx, path)
	if err == nil {
		err = d.readers.fill(ctx)
	}
	if err != nil {
		return nil, errors.Join(explained{explain(path, err), err}, d.Close())
	}
	return d, nil
}

// connectTo returns connections to the file at path.
func connectTo(path string, c connector) *sql.DB {
	c.name = fileName(path, engineOptions+c.options)
	return sql.OpenDB(c)
}

// fileName returns the name by which SQLite opens the file at path with the options.
func fileName(path, options string) string {
	name := url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(path), RawQuery: options}
	return name.String()
}

// connector opens connections for database/sql.
type connector struct {
	name     string
	options  string // besides engineOptions
	settings string
	control  *control // nil for readers
}

// Connect opens a connection. While another process creates the write-ahead log of a new file, or removes the log because it
// closes the file, SQLite does not wait for busyTimeout but fails at once, so Connect tries again.
func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := engine.Open(c.name)
	if err != nil {
		return nil, err
	}
	ctx = context.WithoutCancel(ctx) // the connection outlives the request that needs it first
	for begun := time.Now(); ; time.Sleep(time.Millisecond) {
		_, err := conn.(driver.ExecerContext).ExecContext(ctx, c.settings, nil)
		if err == nil {
			install(conn, c.control)
			return conn, nil
		}
		if !IsBusy(err) || time.Since(begun) > busyTimeout {
			return nil, errors.Join(err, conn.Close())
		}
	}
}

func (c connector) Driver() driver.Driver { return engine }

// check opens the file and makes sure that it is writable.
func (d *sqliteDriver) check(ctx context.Context, path string) (err error) {
	var mode string
	if err := d.writer.db.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&mode); err != nil {
		return err
	}
	if mode != "wal" {
		return fmt.Errorf("its file system does not support SQLite's write-ahead log (journal mode %s)", mode)
	}
	// SQLite opens a read-only file, and even begins IMMEDIATE. Only a statement that writes fails.
	const probe = "BEGIN IMMEDIATE; CREATE TABLE daybook_probe (a); ROLLBACK"
	if _, err := d.writer.db.ExecContext(ctx, probe); err != nil && !IsBusy(err) {
		return err
	}
	d.writer.file, err = openFile(path)
	return err
}

// explain says what is wrong with the file at path.
func explain(path string, err error) string {
	folder, folderErr := os.Stat(filepath.Dir(path))
	file, fileErr := os.Stat(path)
	switch {
	case errors.Is(folderErr, os.ErrNotExist):
		return fmt.Sprintf("%s: the folder %s does not exist", path, filepath.Dir(path))
	case folderErr == nil && !folder.IsDir():
		return fmt.Sprintf("%s: %s is not a folder", path, filepath.Dir(path))
	case fileErr == nil && file.IsDir():
		return fmt.Sprintf("%s is a folder: use the path of a file in it, such as %s", path, filepath.Join(path, "daybook.db"))
	case is(err, resultNotADB):
		return path + " is not a SQLite database"
	case is(err, resultCorrupt):
		return fmt.Sprintf("%s is damaged: restore a backup (%s)", path, err)
	case is(err, resultCantOpen, resultReadOnly, resultPerm), errors.Is(err, os.ErrPermission):
		return fmt.Sprintf("%s: the file and its folder must be writable (%s)", path, err)
	}
	return fmt.Sprintf("%s: %s", path, err)
}

// Close closes the database. Connections in use close when they are given back. The last one removes the write-ahead log.
func (d *sqliteDriver) Close() error {
	d.watch.stop()
	d.settle()
	if d.writer.file != nil && d.writer.file.keepsLog() {
		// With the last connection, SQLite would remove the log. This one stays.
		ctx, cancel := context.WithTimeout(context.Background(), trimWait)
		defer cancel()
		_, _ = d.readers.db.Conn(ctx) // if none is free, those in use stay
	}
	return errors.Join(d.readers.db.Close(), d.writer.close())
}

// settle waits a moment for connections whose rows have been closed: they are given back by a goroutine. Of two connections that close
// at the same time, neither is the last one, and the log would stay.
func (d *sqliteDriver) settle() {
	ctx, cancel := context.WithTimeout(context.Background(), trimWait)
	defer cancel()
	places := 0
	for places < cap(d.readers.free) && d.readers.places.take(ctx) == nil {
		places++
	}
	d.readers.giveBack(places)
	if _, err := d.writer.enter(ctx, true); err == nil {
		d.writer.pass()
	}
}

func (d *sqliteDriver) Dialect() string { return dialect.SQLite }

func (d *sqliteDriver) Tx(ctx context.Context) (dialect.Tx, error) { return d.BeginTx(ctx, nil) }

// BeginTx returns a transaction, which begins with its first statement. It is serializable, whatever level the options ask for.
func (d *sqliteDriver) BeginTx(ctx context.Context, options *sql.TxOptions) (dialect.Tx, error) {
	if options != nil && options.ReadOnly {
		return newTx(ctx, &reader{driver: d}, d.watch, false), nil
	}
	return newTx(ctx, &member{writer: d.writer}, d.watch, true), nil
}

// ExecContext runs a statement outside of a transaction, on the writer. VACUUM, for example, cannot run in a transaction.
func (d *sqliteDriver) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if _, err := d.writer.take(ctx, true); err != nil {
		return nil, err
	}
	defer d.writer.giveBack()
	result, err := d.writer.conn.ExecContext(ctx, query, args...)
	if err == nil {
		_, err = d.writer.file.check()
	}
	return result, err
}

// QueryContext runs a query outside of a transaction: on a reader, or on the writer if it writes (INSERT … RETURNING).
// The connection is given back when the rows are closed.
func (d *sqliteDriver) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	args, err := evaluate(args)
	if err != nil {
		return nil, err
	}
	conn, err := d.readers.take(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := conn.QueryContext(ctx, query, args...)
	if !refusedToWrite(err) {
		_, _ = rollBack(conn) // BEGIN would keep the connection at this state of the database
		go d.readers.give(conn)
		return rows, err
	}
	d.readers.give(conn)
	if _, err := d.writer.take(ctx, true); err != nil {
		return nil, err
	}
	rows, err = d.writer.conn.QueryContext(ctx, query, args...)
	go d.writer.giveBack()
	return rows, err
}
