package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// maxEnd is how long the server may take to begin or end a transaction. It waits for its disk, and for a synchronous standby.
const maxEnd = 10 * time.Second

// session is the role of a transaction on PostgreSQL.
type session struct {
	driver    *postgresDriver
	statement string // that begins it
	writing   bool
	conn      *sql.Conn
}

// begin takes a connection. If the transaction's statements are prepared, BEGIN is sent together with the first one.
func (s *session) begin(ctx context.Context) (conn *sql.Conn, err error) {
	if s.writing {
		if err := s.driver.writers.take(ctx); err != nil {
			return nil, err
		}
	}
	if s.conn, err = s.driver.pool.take(ctx); err != nil {
		s.leave()
		return nil, err
	}
	if s.driver.config.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement {
		err = raw(s.conn, func(conn *pipelined) error {
			conn.begin = s.statement
			return nil
		})
	} else {
		_, err = s.run(s.statement)
	}
	if err != nil {
		err = errors.Join(s.err(), err)
		s.discard()
		return nil, err // the transaction has no connection that its end would give back again
	}
	return s.conn, nil
}

// discard closes the connection.
func (s *session) discard() {
	s.driver.discard(s.conn)
	s.leave()
}

// give gives the connection to others.
func (s *session) give() {
	s.driver.pool.give(s.conn)
	s.leave()
}

func (s *session) leave() {
	if s.writing {
		s.driver.writers.giveBack(1)
	}
}

// run runs a statement that begins or ends the transaction, and returns the command of the server's answer. The error is errUnsent
// if the statement has not left. (To pgconn.SafeToRetry alone, a connection that is closed instead of an answer is not lost.)
func (s *session) run(statement string) (command string, err error) {
	ctx, cancel := endingContext()
	defer cancel()
	err = raw(s.conn, func(conn *pipelined) error {
		conn.ending.Store(true)
		reader := conn.server().Exec(ctx, statement)
		unsent := conn.server().IsClosed()
		results, err := reader.ReadAll()
		switch {
		case err == nil:
			conn.ending.Store(false)
			command = results[0].CommandTag.String()
		case unsent && pgconn.SafeToRetry(err):
			err = fmt.Errorf("%w: %w", errUnsent, err)
		}
		return err
	})
	return command, err
}

// err returns errLost after the connection was lost.
func (s *session) err() error { return lost(s.conn) }

// admit refuses a statement that would end the transaction. PostgreSQL's own savepoints need no protection: nobody shares them.
// It also refuses one while rows are open, for which the connection would be closed.
func (s *session) admit(ctx context.Context, query string) (context.Context, error) {
	if controls(query) && !undoesSavepoint(query) {
		return ctx, errControl
	}
	if s.is(func(conn *pipelined) bool { return conn.server().IsBusy() }) {
		return ctx, errReading
	}
	return ctx, nil
}

// is reports whether the connection is as the function says.
func (s *session) is(so func(*pipelined) bool) (is bool) {
	_ = raw(s.conn, func(conn *pipelined) error { // fails if the connection is lost, of which err tells
		is = so(conn)
		return nil
	})
	return is
}

// end ends the transaction. If the connection is lost during COMMIT, nobody knows whether the server has committed.
func (s *session) end(commit bool) error {
	if s.is((*pipelined).unsent) {
		s.give()
		return nil
	}
	if commit && !s.is((*pipelined).there) {
		s.discard()
		return errLost
	}
	statement := "ROLLBACK"
	if commit {
		statement = "COMMIT"
	}
	command, err := s.run(statement)
	switch {
	case err != nil:
		lost := s.err()
		s.discard() // which rolls back, if it has not been committed
		answer, answered := errors.AsType[*pgconn.PgError](err)
		answered = answered && answer.SeverityUnlocalized == "ERROR" // after which the server goes on, unlike after "FATAL"
		switch {
		case !commit:
			return nil
		case s.writing && !answered && !errors.Is(err, errUnsent):
			return fmt.Errorf("%w: %w", errUnknown, err)
		}
		return errors.Join(lost, err)
	case s.is((*pipelined).unreplicated):
		s.discard()
		return fmt.Errorf("%w: the wait for the synchronous standby was cancelled", errUnknown)
	}
	s.give()
	if command != statement {
		return fmt.Errorf("%w (answer to %s: %s)", ErrRolledBack, statement, command)
	}
	return nil
}

// blocksOthers reports whether others may wait: for a lock, which only the server knows, or for a connection.
func (s *session) blocksOthers() bool { return s.writing || s.driver.pool.waiting.Load() > 0 }

// controls reports whether a statement begins or ends a transaction.
var controls = regexp.MustCompile(`(?is)^(\s|;|--[^\n]*\n|/\*.*?\*/)*` + // what the server ignores
	`(BEGIN|START|COMMIT|END|ABORT|ROLLBACK|PREPARE\s+TRANSACTION)\b`).MatchString

// ending marks the context of a statement that begins or ends a transaction.
type ending struct{}

func endingContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithValue(context.Background(), ending{}, true), maxEnd)
}

// canceller does what follows when a statement's context ends: it asks the server to cancel the statement. But COMMIT is never
// cancelled, because a server that waits for its synchronous standby would then answer that all is well: the connection is cut.
//
// A busy server may carry that out when the statement has ended, and cancel the next one: nobody else may use the connection.
type canceller struct {
	pgconn.CancelRequestContextWatcherHandler
	cut bool
}

func (c *canceller) HandleCancel(ctx context.Context) {
	if ctx.Value(ending{}) == nil {
		c.CancelRequestContextWatcherHandler.HandleCancel(ctx)
		return
	}
	c.cut = true
	_ = c.Conn.Conn().SetDeadline(time.Unix(1, 0)) // fails only if it is closed already
}

func (c *canceller) HandleUnwatchAfterCancel() {
	if c.cut {
		return
	}
	c.CancelRequestContextWatcherHandler.HandleUnwatchAfterCancel()
	c.Conn.CustomData()[cancelled] = true
}

// beginStatement returns the statement that begins a transaction. One that reads has a snapshot, unless the options say otherwise.
func beginStatement(options *sql.TxOptions) (string, error) {
	level, statement := options.Isolation, "BEGIN"
	if options.ReadOnly {
		statement += " READ ONLY"
		if level == sql.LevelDefault {
			level = sql.LevelRepeatableRead
		}
	}
	switch level {
	case sql.LevelDefault: // the server's, which is read committed
		return statement, nil
	case sql.LevelReadUncommitted, sql.LevelReadCommitted, sql.LevelRepeatableRead, sql.LevelSerializable:
		return statement + " ISOLATION LEVEL " + level.String(), nil
	case sql.LevelSnapshot:
		return statement + " ISOLATION LEVEL REPEATABLE READ", nil
	}
	return "", fmt.Errorf("begin: PostgreSQL has no isolation level %s", level)
}
