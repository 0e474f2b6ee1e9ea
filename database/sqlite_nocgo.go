//go:build !cgo

package database

import (
	"context"
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

// inTransaction reports whether a transaction is open on the driver's connection. The driver does not tell, so SQLite is
// asked for another one, which it refuses if one is open.
func inTransaction(conn any) (bool, error) {
	tx, err := conn.(driver.ConnBeginTx).BeginTx(context.Background(), driver.TxOptions{})
	if err == nil {
		return false, tx.Rollback()
	}
	if result(err) == resultError {
		return true, nil
	}
	return false, err
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
