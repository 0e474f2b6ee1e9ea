package database

import (
	"context"

	"entgo.io/ent/dialect"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
)

// Notify tells those who [Listen] to the channel, in all processes, that something has changed. On SQLite nobody is told.
//
// On PostgreSQL, transactions that send a notification commit one after another, each with a flush of its own. So do not send one
// in each transaction: call Notify after the commit, and not for every one if there are many.
func Notify(ctx context.Context, driver dialect.Driver, channel string) error {
	if _, ok := driver.(*postgresDriver); !ok {
		return nil
	}
	return driver.Exec(ctx, "SELECT pg_notify($1, '')", []any{channel}, nil)
}

// Listen calls changed when something may have changed: at once, and for each notification of the channel. It returns when ctx ends,
// or with the error by which it has lost the server: what changes until the next call is known only to those who look. On SQLite
// it does nothing until ctx ends. It uses a connection of its own.
func Listen(ctx context.Context, driver dialect.Driver, channel string, changed func()) error {
	d, ok := driver.(*postgresDriver)
	if !ok {
		<-ctx.Done()
		return ctx.Err()
	}
	config := d.config.Copy()
	config.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.DeadlineContextWatcherHandler{Conn: conn.Conn()} // there is no statement to cancel
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{channel}.Sanitize()); err != nil {
		return err
	}
	for err == nil {
		changed()
		_, err = conn.WaitForNotification(ctx)
	}
	return err
}
