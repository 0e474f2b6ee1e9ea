package database

import (
	"errors"
	"fmt"

	"github.com/mattn/go-sqlite3"
)

// errBusy is the cause of giving up the wait for a connection. It names the mistake that looks like a busy database.
var errBusy = fmt.Errorf("the database is busy: no turn came within %s (a transaction that writes, while it is open, "+
	"outside of itself waits for its own end)", maxWait)

// IsBusy reports whether err means that the database was in use for too long. Trying again later may help.
func IsBusy(err error) bool {
	switch code(err) {
	case sqlite3.ErrBusy, sqlite3.ErrLocked:
		return true
	}
	return errors.Is(err, errBusy)
}

// IsRepeatable reports whether err means that the whole transaction may well succeed if it is run again at once, because
// another one came in between. With transactions of this package that does not happen on SQLite, where writers take turns
// from their beginning; it does with those that begin as SQLite's own default has it.
func IsRepeatable(err error) bool {
	var e sqlite3.Error
	return errors.As(err, &e) && e.ExtendedCode == sqlite3.ErrBusySnapshot
}

// IsFull reports whether err means that there is no room left to store anything.
func IsFull(err error) bool {
	return code(err) == sqlite3.ErrFull
}

// code returns SQLite's primary result code (https://sqlite.org/rescode.html), or 0 for other errors.
func code(err error) sqlite3.ErrNo {
	var e sqlite3.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}
