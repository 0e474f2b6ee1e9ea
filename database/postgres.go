package database

import (
	"context"
	"crypto/tls"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"
)

// maxEnd is how long the server may take to begin or end a transaction. It waits for its disk, and for a synchronous standby.
const maxEnd = 10 * time.Second

// postgresDriver is an ent driver for a PostgreSQL server.
type postgresDriver struct {
	entsql.Conn // ent's Exec and Query, which call ExecContext and QueryContext
	config      *pgx.ConnConfig
	pool        *pool
	watch       *watch
}

// openPostgres opens the database that the URL names.
func openPostgres(ctx context.Context, url string) (dialect.Driver, error) {
	parsed, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, malformed(url, err)
	}
	if parsed.ConnConfig.DefaultQueryExecMode == pgx.QueryExecModeSimpleProtocol {
		return nil, errors.New("with simple_protocol, a statement could be several: use default_query_exec_mode=exec")
	}
	has := func(parameter string) bool { return strings.Contains(url, parameter+"=") }
	// A connection waits for the server most of the time, so more than the server's cores are of use: they share its flushes.
	size := max(32, 4*runtime.NumCPU())
	if has("pool_max_conns") {
		size = int(parsed.MaxConns)
	}
	config := parsed.ConnConfig
	if !has("connect_timeout") {
		config.ConnectTimeout = maxWait
	}
	for name, value := range map[string]string{
		"application_name": filepath.Base(os.Args[0]),
		"client_encoding":  "UTF8",
		"lock_timeout":     fmt.Sprint(maxWait.Milliseconds()),
		// Package database ends such a transaction earlier. This is for the locks of a process that has stopped.
		"idle_in_transaction_session_timeout": fmt.Sprint(2 * maxHold.Milliseconds()),
	} {
		if _, set := config.RuntimeParams[name]; !set {
			config.RuntimeParams[name] = value
		}
	}
	config.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &canceller{CancelRequestContextWatcherHandler: pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: maxWait}}
	}
	config.OnNotice = noteUnreplicated

	d := &postgresDriver{config: config, watch: &watch{open: map[*tx]time.Time{}}}
	d.Conn = entsql.Conn{ExecQuerier: d}
	d.pool = newPool(sql.OpenDB(pipeliner{config}), size)
	d.pool.db.SetConnMaxLifetime(parsed.MaxConnLifetime)
	d.pool.db.SetConnMaxIdleTime(parsed.MaxConnIdleTime)
	var encoding string
	err = d.pool.db.QueryRowContext(ctx, "SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database()").
		Scan(&encoding)
	if err == nil && encoding != "UTF8" {
		err = fmt.Errorf("the database %s has the encoding %s: create one with ENCODING 'UTF8' TEMPLATE template0", config.Database, encoding)
	}
	if err != nil {
		return nil, errors.Join(explainConnect(err, config), d.Close())
	}
	return d, nil
}

func (d *postgresDriver) Close() error {
	d.watch.stop()
	return d.pool.db.Close()
}

func (d *postgresDriver) Dialect() string { return dialect.Postgres }

func (d *postgresDriver) Tx(ctx context.Context) (dialect.Tx, error) { return d.BeginTx(ctx, nil) }

// BeginTx returns a transaction, which begins with its first statement.
func (d *postgresDriver) BeginTx(ctx context.Context, options *sql.TxOptions) (dialect.Tx, error) {
	if options == nil {
		options = &sql.TxOptions{}
	}
	statement, err := beginStatement(options)
	if err != nil {
		return nil, err
	}
	role := &session{driver: d, statement: statement, writing: !options.ReadOnly}
	return newTx(ctx, role, d.watch, role.writing), nil
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
		return statement + " ISOLATION LEVEL " + strings.ToUpper(level.String()), nil
	case sql.LevelSnapshot:
		return statement + " ISOLATION LEVEL REPEATABLE READ", nil
	}
	return "", fmt.Errorf("begin: PostgreSQL has no isolation level %s", level)
}

// ExecContext runs a statement outside of a transaction.
func (d *postgresDriver) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	conn, err := d.take(ctx)
	if err != nil {
		return nil, err
	}
	defer d.pool.give(conn)
	result, err := conn.ExecContext(ctx, query, args...)
	return result, outside(ctx, conn, err)
}

// QueryContext runs a query outside of a transaction. The connection is given back when the rows are closed.
func (d *postgresDriver) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	args, err := evaluate(args)
	if err != nil {
		return nil, err
	}
	conn, err := d.take(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := conn.QueryContext(ctx, query, args...)
	if err = outside(ctx, conn, err); IsUnknown(err) && selects(query) {
		err = errLost
	}
	go d.pool.give(conn)
	return rows, err
}

// selects reports whether a query only reads, as far as its first word says.
var selects = regexp.MustCompile(`(?i)^\s*SELECT\b`).MatchString

// take takes a connection. Some may have been lost while nobody used them, as when the server was restarted: then all of them
// probably were, and take opens a new one.
func (d *postgresDriver) take(ctx context.Context) (*sql.Conn, error) {
	conn, err := d.pool.take(ctx)
	if err != nil || !gone(conn) {
		return conn, err
	}
	d.discard(conn)
	d.closeIdle()
	return d.pool.take(ctx)
}

// closeIdle closes the connections that nobody uses.
func (d *postgresDriver) closeIdle() {
	d.pool.db.SetMaxIdleConns(0)
	d.pool.db.SetMaxIdleConns(cap(d.pool.places))
}

// discard closes the connection instead of leaving it to others.
func (d *postgresDriver) discard(conn *sql.Conn) {
	_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	d.pool.give(conn)
}

// outside says what the error of a statement that commits by itself means. If its connection is lost, it may have done so. (An
// ErrBadConn of pgx does not say that it was not sent: see run.)
func outside(ctx context.Context, conn *sql.Conn, err error) error {
	if err == nil || lost(conn) == nil {
		return because(ctx, err)
	}
	return fmt.Errorf("%w: %w", errUnknown, because(ctx, err))
}

// raw calls the function with the connection to the server.
func raw(conn *sql.Conn, fn func(*pgconn.PgConn) error) error {
	return conn.Raw(func(conn any) error { return fn(conn.(*pipelined).Conn.Conn().PgConn()) })
}

// lost returns errLost after the connection was lost.
func lost(conn *sql.Conn) error {
	closed := true // unless raw calls the function
	_ = raw(conn, func(conn *pgconn.PgConn) error {
		closed = conn.IsClosed()
		return nil
	})
	if closed {
		return errLost
	}
	return nil
}

// gone reports whether the server has closed the connection. It does not ask the server, unless something has arrived.
func gone(conn *sql.Conn) (gone bool) {
	err := raw(conn, func(conn *pgconn.PgConn) error {
		network := conn.Conn()
		if encrypted, ok := network.(*tls.Conn); ok {
			network = encrypted.NetConn()
		}
		received, err := peek(network)
		if received { // a notice, or why the server ends it
			ctx, cancel := endingContext()
			defer cancel()
			err = conn.Ping(ctx)
		}
		gone = err != nil
		return nil
	})
	return gone || err != nil
}

// session is the role of a transaction on PostgreSQL.
type session struct {
	driver    *postgresDriver
	statement string // that begins it
	writing   bool
	conn      *sql.Conn
}

// begin takes a connection. If the transaction's statements are prepared, BEGIN is sent together with the first one.
func (s *session) begin(ctx context.Context) (conn *sql.Conn, err error) {
	if s.conn, err = s.driver.take(ctx); err != nil {
		return nil, err
	}
	if s.driver.config.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement {
		err = s.conn.Raw(func(conn any) error {
			conn.(*pipelined).begin = s.statement
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

// discard closes the connection. If it was lost, those that nobody uses now probably were, too.
func (s *session) discard() {
	if s.err() != nil {
		s.driver.closeIdle()
	}
	s.driver.discard(s.conn)
}

// run runs a statement that begins or ends the transaction, and returns the command of the server's answer. The error is errUnsent
// if the statement has not left. (To pgconn.SafeToRetry alone, a connection that is closed instead of an answer is not lost.)
func (s *session) run(statement string) (command string, err error) {
	ctx, cancel := endingContext()
	defer cancel()
	err = s.conn.Raw(func(conn any) error {
		c := conn.(*pipelined)
		c.ending.Store(true)
		reader := c.Conn.Conn().PgConn().Exec(ctx, statement)
		unsent := c.Conn.Conn().IsClosed()
		results, err := reader.ReadAll()
		switch {
		case err == nil:
			c.ending.Store(false)
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
	busy := false
	_ = raw(s.conn, func(conn *pgconn.PgConn) error { busy = conn.IsBusy(); return nil })
	if busy {
		return ctx, errReading
	}
	return ctx, nil
}

// unsent reports whether BEGIN has not been sent: the first statement has failed before.
func (s *session) unsent() (unsent bool) {
	_ = s.conn.Raw(func(conn any) error {
		unsent = conn.(*pipelined).pending() != ""
		return nil
	})
	return unsent
}

// end ends the transaction. If the connection is lost during COMMIT, nobody knows whether the server has committed.
func (s *session) end(commit bool) error {
	if s.unsent() {
		s.driver.pool.give(s.conn)
		return nil
	}
	if commit && gone(s.conn) {
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
	case s.unreplicated():
		s.discard()
		return fmt.Errorf("%w: the wait for the synchronous standby was cancelled", errUnknown)
	}
	s.driver.pool.give(s.conn)
	if command != statement {
		return fmt.Errorf("%w (answer to %s: %s)", ErrRolledBack, statement, command)
	}
	return nil
}

// unreplicated reports whether the server has committed without waiting for its standby: an administrator has cancelled the wait.
func (s *session) unreplicated() (noted bool) {
	_ = raw(s.conn, func(conn *pgconn.PgConn) error {
		_, noted = conn.CustomData()[unreplicated]
		return nil
	})
	return noted
}

// unreplicated is the routine of PostgreSQL that says so.
const unreplicated = "SyncRepWaitForLSN"

func noteUnreplicated(conn *pgconn.PgConn, notice *pgconn.Notice) {
	if notice.Routine == unreplicated {
		conn.CustomData()[unreplicated] = true
	}
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
	if !c.cut {
		c.CancelRequestContextWatcherHandler.HandleUnwatchAfterCancel()
	}
}
