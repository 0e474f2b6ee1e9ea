package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
)

// savepoint is the savepoint that each transaction of a group runs in: a name that no application has for one of its own.
const savepoint = "daybook_member"

// errControl is the error of a statement that would begin, end or release a transaction that is not its own.
var errControl = errors.New("a transaction begins and ends with Tx, Commit and Rollback, and not with a statement")

// control keeps the statements of an application from ending the transaction in which they run, whatever their text: it
// carries those of others, too. Only SQLite knows what a text means, so it is asked: by an authorizer, which refuses such
// a statement before it runs, and by the hooks of COMMIT and ROLLBACK, for the engine that has no authorizer.
type control struct {
	locked bool // the application's statements run
	ended  bool // the transaction ended meanwhile: by SQLite itself, or by a COMMIT that was refused
}

// lock begins the part of a transaction in which the application's statements run.
func (c *control) lock() { c.locked, c.ended = true, false }

// unlock ends that part. It returns ErrRolledBack if the transaction ended meanwhile.
func (c *control) unlock() error {
	c.locked = false
	return c.err()
}

func (c *control) err() error {
	if c.ended {
		return ErrRolledBack
	}
	return nil
}

// refuses reports whether a statement that controls a transaction or, if it names one, a savepoint, may not run.
func (c *control) refuses(name string) bool {
	return c.locked && (name == "" || strings.EqualFold(name, savepoint))
}

// onCommit reports whether a COMMIT becomes a ROLLBACK.
func (c *control) onCommit() bool {
	c.ended = c.ended || c.locked
	return c.locked
}

func (c *control) onRollback() {
	c.ended = c.ended || c.locked
}

// undoesSavepoint reports whether the query is ROLLBACK TO a savepoint and nothing else.
func undoesSavepoint(query string) bool {
	query = strings.TrimRight(strings.ToUpper(query), "; \t\r\n")
	words := strings.Fields(query)
	if len(words) > 1 && words[1] == "TRANSACTION" {
		words = append(words[:1], words[2:]...)
	}
	return len(words) > 2 && words[0] == "ROLLBACK" && words[1] == "TO" && !strings.Contains(query, ";")
}

// rollBack leaves the connection without a transaction, or closes it. It reports whether there was one.
func rollBack(conn *sql.Conn) (found bool, err error) {
	_, err = conn.ExecContext(context.Background(), "ROLLBACK")
	switch {
	case err == nil:
		return true, nil
	case result(err) == resultError: // there is none
		return false, nil
	}
	return true, fmt.Errorf("roll back: %w", errors.Join(err, discard(conn)))
}

// discard has database/sql close the connection instead of using it again.
func discard(conn *sql.Conn) error {
	if err := conn.Raw(func(any) error { return driver.ErrBadConn }); !errors.Is(err, driver.ErrBadConn) {
		return err
	}
	return nil
}
