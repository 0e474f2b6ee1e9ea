package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
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

// postgresDriver is an ent driver for a PostgreSQL server.
type postgresDriver struct {
	entsql.Conn // ent's Exec and Query, which call ExecContext and QueryContext
	config      *pgx.ConnConfig
	pool        *pool
	writers     *places // for three quarters of the pool: if all that write wait for a standby, others can read
	watch       *watch
	silence     *silence
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
	config.DialFunc = (&net.Dialer{Control: limitSilence}).DialContext
	config.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &canceller{CancelRequestContextWatcherHandler: pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: maxWait}}
	}
	config.OnNotice = noteUnreplicated

	d := &postgresDriver{
		config:  config,
		writers: newPlaces(max(1, size*3/4)),
		watch:   &watch{open: map[*tx]time.Time{}},
		silence: watchSilence(config),
	}
	d.Conn = entsql.Conn{ExecQuerier: d}
	d.pool = newPool(sql.OpenDB(pipeliner{config, d.silence}), size)
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
	d.silence.stop()
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

// ExecContext runs a statement outside of a transaction.
func (d *postgresDriver) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	conn, err := d.pool.take(ctx)
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
	conn, err := d.pool.take(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := conn.QueryContext(ctx, query, args...)
	if err = outside(ctx, conn, err); IsUnknown(err) && selects(query) {
		err = fmt.Errorf("%w: %v", errLost, err)
	}
	go d.pool.give(conn)
	return rows, err
}

// selects reports whether a query only reads, as far as its first word says.
var selects = regexp.MustCompile(`(?i)^\s*SELECT\b`).MatchString

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

// raw calls the function with the connection, unless it is closed.
func raw(conn *sql.Conn, fn func(*pipelined) error) error {
	return conn.Raw(func(conn any) error { return fn(conn.(*pipelined)) })
}

// lost returns errLost after the connection was lost.
func lost(conn *sql.Conn) error {
	closed := true // unless raw calls the function
	_ = raw(conn, func(conn *pipelined) error {
		closed = conn.server().IsClosed()
		return nil
	})
	if closed {
		return errLost
	}
	return nil
}
