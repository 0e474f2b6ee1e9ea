// Package database opens a SQLite database for an ent client of any schema.
//
//	driver, err := database.Open(ctx, "daybook.db")
//	if err != nil { … }
//	client := ent.NewClient(ent.Driver(driver))
//	defer client.Close()
//
// # Transactions
//
//   - A transaction begins with its first statement; one without statements costs nothing. Its end closes its rows.
//   - When Commit returns nil, the transaction is on disk (WAL, synchronous=FULL), in the file that the path names.
//   - Writers do not fail with "database is locked": they take turns, in order of arrival. Those that wait at the same time
//     share one commit, and so one flush of the disk (group commit). A writer that is alone commits at once.
//   - A reading transaction sees one snapshot and cannot write. It waits for writers only as described under Limits.
//   - After Exec or Query has returned an error, the transaction goes on only from a savepoint, as on PostgreSQL: everything
//     else, Commit included, fails with that error until the savepoint is rolled back to (see Savepoint in package transaction).
//   - No statement can begin or end a transaction, or release a savepoint of another one, whatever its text. With cgo it is
//     refused; without, it rolls back the transactions that share the commit, and all of them fail.
//   - When SQLite itself ends a transaction (a full disk, INSERT OR ROLLBACK), or the shared commit fails, all that share it
//     fail, even those that roll back: they may have read writes that were undone.
//   - After the file or its write-ahead log was deleted, renamed or replaced, writing fails ([ErrFileReplaced]).
//   - A statement outside of a transaction commits by itself, and shares no commit. If it writes, it takes its turn.
//
// # Limits
//
//   - A wait for a turn, for a connection or for another process fails after 5 seconds ([IsBusy]).
//   - A writing transaction that blocks others for 10 seconds between its statements is rolled back ([ErrHeldTooLong]). A
//     running statement is never interrupted.
//   - A reading transaction that is older than 10 seconds is ended when others wait for a connection, or when it keeps a
//     write-ahead log of more than 64 MiB from being emptied. When the log has 256 MiB, all that read have 0.1 seconds to end
//     before they are ended, and new ones wait for about 0.2 seconds. The log grows further only during a longer statement, and
//     while rows outside of a transaction or readers in other processes are open.
//
// The driver is github.com/mattn/go-sqlite3 or, without cgo, modernc.org/sqlite.
package database

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"entgo.io/ent/dialect"
)

// Open opens the database that url names: a server by postgres://…, or the path of a SQLite file, which is created if it is
// missing. The file's folder must exist and be writable, because SQLite keeps two more files there. Closing the driver, or the ent
// client that uses it, closes the database.
func Open(ctx context.Context, url string) (driver dialect.Driver, err error) {
	switch scheme, _, found := strings.Cut(url, "://"); {
	case url == "":
		err = errors.New("the path of a SQLite file is missing")
	case scheme == "postgres", scheme == "postgresql":
		driver, err = openPostgres(ctx, url)
	case strings.Contains(url, ":memory:"):
		err = fmt.Errorf("%s would lose everything at the end: use the path of a file", url)
	case found:
		err = fmt.Errorf("%s:// is not supported: use the path of a SQLite file, or postgres://…", scheme)
	default:
		driver, err = openSQLite(ctx, url)
	}
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	return driver, nil
}
