package database

import (
	"errors"

	"github.com/mattn/go-sqlite3"
)

// errBusy is the cause of giving up the wait for a connection.
var errBusy = errors.New("the database is busy")

// IsBusy reports whether err means that the database was in use for too long. Trying again later may help.
func IsBusy(err error) bool {
	switch code(err) {
	case sqlite3.ErrBusy, sqlite3.ErrLocked:
		return true
	}
	return errors.Is(err, errBusy)
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
