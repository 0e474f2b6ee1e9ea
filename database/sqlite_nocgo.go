//go:build !cgo

package database

import (
	"database/sql/driver"
	"errors"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// engine is SQLite translated to Go: several times slower, but it needs no C compiler.
var engine driver.Driver = &sqlite.Driver{}

// engineOptions are added to the file's name. Times are written as the other engine does it, so that both can use one file.
const engineOptions = "_time_format=sqlite"

type hookResult = int32 // of onCommit

// install makes the connection refuse a COMMIT of an application. There is no authorizer to refuse it before it runs, so it
// becomes a ROLLBACK, and the whole group fails. For a reader, query_only is enough.
func install(conn driver.Conn, c *control) {
	if c == nil {
		return
	}
	hooks := conn.(sqlite.HookRegisterer)
	hooks.RegisterCommitHook(c.onCommit)
	hooks.RegisterRollbackHook(c.onRollback)
}

// result returns SQLite's extended result code, or 0 for an error that is not SQLite's.
func result(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code()
	}
	return 0
}

// copyOptions are added to the name of a copy's file, whose writer flushes it by itself and drops it after an error.
const copyOptions = "_pragma=journal_mode(OFF)&_pragma=synchronous(OFF)"

// pageCopy is SQLite's online backup (https://sqlite.org/backup.html).
type pageCopy struct{ *sqlite.Backup }

// newPageCopy copies the database of a connection to the file of that name.
func newPageCopy(from driver.Conn, name string) (*pageCopy, error) {
	backup, err := from.(interface {
		NewBackup(name string) (*sqlite.Backup, error)
	}).NewBackup(name)
	return &pageCopy{backup}, err
}

func (p *pageCopy) step(pages int) (more bool, err error) { return p.Step(int32(pages)) }

func (p *pageCopy) finish() error { return p.Finish() }

// SQLiteVersion returns the version of the SQLite library in use, such as "3.50.4".
func SQLiteVersion() string { return sqlite3.SQLITE_VERSION }
