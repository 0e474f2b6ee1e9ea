package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"regexp"
)

// savepoint is the name of the savepoint in which each member of a group runs. No application uses it.
const savepoint = "daybook_member"

// control keeps an application's statements from ending the transaction in which they run, because others share it. Only SQLite
// can tell what a statement does. One engine has an authorizer, which refuses a statement before it runs. Both have hooks, which
// SQLite calls at each COMMIT and ROLLBACK.
type control struct {
	locked bool // an application's statements run
	ended  bool // the transaction has ended since locked was set: SQLite rolled it back, or control refused a COMMIT
}

// onCommit is the hook for COMMIT. If it does not return 0, SQLite rolls back, and calls onRollback.
func (c *control) onCommit() hookResult {
	if c.locked {
		return 1
	}
	return 0
}

// onRollback is the hook for ROLLBACK, which SQLite also calls when it rolls back by itself.
func (c *control) onRollback() { c.ended = true }

// undoesSavepoint reports whether a query is ROLLBACK TO a savepoint and nothing else.
var undoesSavepoint = regexp.MustCompile(`(?i)^\s*ROLLBACK\s+(TRANSACTION\s+)?TO\s+[^;\s][^;]*[;\s]*$`).MatchString

// rollBack rolls back the connection's transaction, and reports whether there was one. If that fails, the connection is closed.
func rollBack(conn *sql.Conn) (found bool, err error) {
	_, err = conn.ExecContext(context.Background(), "ROLLBACK")
	if result(err) == resultError { // there is no transaction
		return false, nil
	}
	if err != nil {
		_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // database/sql then closes it
		err = fmt.Errorf("roll back: %w", err)
	}
	return true, err
}
