// Package database opens a database for an ent client of any schema.
//
//	driver, err := database.Open(ctx, "daybook.db")
//	if err != nil { … }
//	client := ent.NewClient(ent.Driver(driver))
//	defer client.Close()
//
// It promises, on SQLite:
//
//   - A commit that returned nil is on disk (WAL, synchronous=FULL), in the file that the path names.
//   - Writers do not fail with "database is locked". They take turns, in the order in which they came, and those that wait
//     together share one commit, and with it one flush of the disk (group commit). Nobody waits for a transaction that is not
//     there yet.
//   - A transaction begins with its first statement: one that runs none costs nothing.
//   - A reading transaction sees one snapshot, cannot write, and does not wait for a writer, but for one moment described below.
//   - After a statement whose Exec or Query returned an error, a transaction goes on only from a savepoint, as on PostgreSQL: everything else
//     fails with the first error, Commit included, until the savepoint that the statement ran in is rolled back to. So a failure
//     of which no notice is taken is never half committed. Package transaction has Savepoint for that.
//   - No statement begins, ends or releases a transaction or savepoint that is not its own, whatever its text. Without cgo, where
//     the driver cannot refuse it before it runs, such a statement rolls back the transactions that share the commit, and all of
//     them fail.
//   - When SQLite has ended a transaction by itself (a full disk, INSERT OR ROLLBACK), or the shared commit fails, each of the
//     transactions that share it fails, one that was rolling back included: it may have read writes that were then undone.
//   - Whatever a transaction left open, rows included, is closed with it.
//   - When the file, or its write-ahead log, is deleted, renamed or replaced while it is open, writing fails from then on
//     ([ErrFileReplaced]). A copy over the open file cannot be noticed: restore a backup only while no process has the file open.
//
// A writing transaction has the database's one writer from its first statement to its end, and those that shared a commit
// with it wait for that as well. So it should do nothing slow in between. One that blocks others for 10 seconds between its
// statements is rolled back ([ErrHeldTooLong]); a statement that is running is never interrupted. A wait for a turn, for a
// connection, or for another process fails after 5 seconds ([IsBusy]).
//
// A reading transaction that is older than 10 seconds is ended when others wait for a connection, or when it keeps the write-ahead
// log, the second file beside the database, from being emptied at 64 MiB. At 256 MiB the log is emptied all the same: transactions
// that read then have a tenth of a second to end before they are ended, and new ones wait for at most two tenths. So the log holds
// 256 MiB and what is written within a second, however many read, and however long. That does not include a statement that runs
// for longer, rows of a query outside of a transaction, and readers in other processes: the log grows for as long as they take.
//
// A statement outside of a transaction commits by itself, and shares no commit. It takes its turn among the writers if it writes.
//
// What an error means for the request that met it is said by [IsBusy], [IsFull], [IsReadOnly], [IsCorrupt], [IsConstraint] and
// [IsRepeatable]; nothing else about the driver needs to be known outside. That is github.com/mattn/go-sqlite3, or, where there
// is no cgo, modernc.org/sqlite.
package database

import (
	"context"
	"fmt"
	"strings"

	"entgo.io/ent/dialect"
)

// Open opens the database that url names: the path of a SQLite file, which is created when it is missing.
// The file's folder must exist and be writable, since SQLite keeps two more files there while it is open.
//
// Closing the driver, or the ent client that uses it, closes the database. An error names the file and says
// what is wrong with it.
func Open(ctx context.Context, url string) (dialect.Driver, error) {
	switch scheme, _, found := strings.Cut(url, "://"); {
	case url == "":
		return nil, fmt.Errorf("open database: the path of a SQLite file is missing")
	case found:
		return nil, fmt.Errorf("open database: %s:// is not supported, only the path of a SQLite file", scheme)
	}
	return openSQLite(ctx, url)
}
