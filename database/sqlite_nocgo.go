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

// engineOptions are added to the file's name: times are written as the other engine writes them, so that both can use one
// file.
const engineOptions = "_time_format=sqlite"

// install has the connection refuse what the statements of an application may not do. There is no authorizer to refuse a COMMIT
// before it runs, so it becomes a ROLLBACK, and the whole group fails. A reader needs nothing more than query_only.
func install(conn driver.Conn, c *control) {
	if c == nil {
		return
	}
	hooks := conn.(sqlite.HookRegisterer)
	hooks.RegisterCommitHook(func() int32 {
		if c.onCommit() {
			return 1
		}
		return 0
	})
	hooks.RegisterRollbackHook(c.onRollback)
}

// result returns SQLite's extended result code, or 0 for an error that is not SQLite's.
func result(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code()
	}
	return 0
}

// SQLiteVersion returns the version of the SQLite library in use, such as "3.50.4".
func SQLiteVersion() string { return sqlite3.SQLITE_VERSION }
