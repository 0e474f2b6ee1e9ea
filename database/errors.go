package database

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

var (
	// ErrRolledBack is returned after the database has ended a transaction by itself, as SQLite does when the disk is full.
	// Nothing of it is kept.
	ErrRolledBack = errors.New("the database has rolled the transaction back")

	// ErrHeldTooLong is returned after a transaction was ended because it blocked others for 10 seconds, or read while the
	// write-ahead log outgrew its bound. Rows that a reader has open end early, so its Commit returns this, too.
	ErrHeldTooLong = errors.New("the transaction was ended: it blocked others for too long")

	errUnknown   = errors.New("it is not known whether the transaction was committed")
	errLost      = errors.New("the connection to the database was lost")
	errUnsent    = errors.New("the statement was not sent")
	errShared    = errors.New("the commit was shared") // marks an error of which most members of the group are not the cause
	errReading   = errors.New("rows of the transaction are still open: read or close them before its next statement")
	errControl   = errors.New("a statement cannot begin or end a transaction: use Tx, Commit and Rollback")
	errOnlyReads = errors.New("the transaction only reads (a GET only reads: mark the route with transaction.Write)")

	// errBusy is the error of a wait that took too long. It names the mistake that looks like a busy database.
	errBusy = fmt.Errorf("the database is busy: no turn came within %s (a handler that writes with another client while its own "+
		"transaction is open waits for its own end)", maxWait)
)

// SQLite's primary result codes (https://sqlite.org/rescode.html), the low byte of the extended ones.
const (
	resultError      = 1
	resultPerm       = 3
	resultBusy       = 5
	resultLocked     = 6
	resultReadOnly   = 8
	resultCorrupt    = 11
	resultFull       = 13
	resultCantOpen   = 14
	resultConstraint = 19
	resultAuth       = 23
	resultNotADB     = 26

	resultBusySnapshot = resultBusy | 2<<8       // another connection has written since the transaction first read
	resultFlush        = 10 | 4<<8               // SQLITE_IOERR_FSYNC
	resultCommitHook   = resultConstraint | 2<<8 // control has refused a COMMIT
)

// PostgreSQL's error codes (https://www.postgresql.org/docs/current/errcodes-appendix.html). Two characters are a class of them.
const (
	stateConnection      = "08"
	stateConstraint      = "23"
	stateReadOnly        = "25006"
	statePassword        = "28"
	stateNoDatabase      = "3D000"
	stateSerialization   = "40001"
	stateDeadlock        = "40P01"
	stateForbidden       = "42501"
	stateFull            = "53100"
	stateTooMany         = "53300" // connections
	stateLockUnavailable = "55P03"
	stateShutdown        = "57P"
	stateCorrupt         = "XX00"
)

// IsBusy reports whether err means that the database was in use for too long, or that a server could not be reached, or has cut
// the connection. Nothing is kept. Trying again later may help.
func IsBusy(err error) bool {
	if IsUnknown(err) {
		return false
	}
	_, unreachable := errors.AsType[*pgconn.ConnectError](err)
	return unreachable || is(err, resultBusy, resultLocked) || errors.Is(err, errBusy) || errors.Is(err, errLost) ||
		state(err, stateLockUnavailable, stateConnection, stateTooMany, stateShutdown)
}

// IsFull reports whether err means that there is no space left.
func IsFull(err error) bool { return is(err, resultFull) || state(err, stateFull) }

// IsReadOnly reports whether err means that a statement tried to write in a reading transaction, or to a database that is
// read-only.
func IsReadOnly(err error) bool {
	return is(err, resultReadOnly) || errors.Is(err, errOnlyReads) || state(err, stateReadOnly)
}

// IsCorrupt reports whether err means that the database is damaged, or the file is none.
func IsCorrupt(err error) bool {
	return is(err, resultCorrupt, resultNotADB) || state(err, stateCorrupt)
}

// IsConstraint reports whether err means that a write violates a constraint of the schema: a value that is not unique, a row that
// others refer to.
func IsConstraint(err error) bool { return is(err, resultConstraint) || state(err, stateConstraint) }

// IsRepeatable reports whether err means that the whole transaction may succeed if it runs again at once. On SQLite a commit that
// it shared has failed, and the next time it commits alone; or, in a transaction not of this package, another connection has
// written since. On PostgreSQL it could not be serialized, or was the victim of a deadlock.
func IsRepeatable(err error) bool {
	return result(err) == resultBusySnapshot || errors.Is(err, errShared) || state(err, stateSerialization, stateDeadlock)
}

// IsUnknown reports whether err means that either everything is kept or nothing, but it is not known which. A server's answer to
// COMMIT, or to a statement outside of a transaction, is missing; or SQLite's file was taken away during COMMIT, or its disk failed and
// what was written cannot be undone.
func IsUnknown(err error) bool { return errors.Is(err, errUnknown) }

// refusedToWrite reports whether a reader's connection has refused a statement because it writes.
func refusedToWrite(err error) bool {
	return is(err, resultReadOnly, resultAuth) || state(err, stateReadOnly)
}

// is reports whether err is SQLite's, with one of the primary result codes.
func is(err error, codes ...int) bool { return slices.Contains(codes, result(err)&0xff) }

// state reports whether err is PostgreSQL's, with one of the codes or of the classes.
func state(err error, codes ...string) bool {
	answer, ok := errors.AsType[*pgconn.PgError](err)
	return ok && slices.ContainsFunc(codes, func(code string) bool { return strings.HasPrefix(answer.Code, code) })
}
