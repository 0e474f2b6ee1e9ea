package transaction

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/labstack/echo/v4"
)

// Savepoint calls the function with the request's client. If the function returns an error or panics, only what it did in
// the database is undone. Savepoint returns the error, and the request may continue. Savepoints nest. The client must have been
// generated with ent's feature sql/execquery.
func Savepoint[C any](c echo.Context, fn func(client C) error) (err error) {
	a := current(c)
	client := Client[C](c)
	a.depth++
	defer func() { a.depth-- }()
	point, err := newSavepoint(c.Request().Context(), client, a.depth)
	if err != nil {
		return err
	}
	commit, rollback, kept := a.afterCommit, a.afterRollback, false
	defer func() {
		if kept {
			return
		}
		a.undone = append(a.undone, a.afterRollback[len(rollback):]...)
		a.afterCommit, a.afterRollback = commit, rollback
		if undoErr := point.undo(); undoErr != nil {
			a.doomed = undoErr // it cannot be undone alone, so the whole transaction must be
			err = errors.Join(err, undoErr)
		}
	}()
	if err = fn(client); err == nil {
		err = point("RELEASE SAVEPOINT ")
		kept = err == nil
	}
	return err
}

// savepoint executes a statement about one savepoint. SQLite, PostgreSQL and MySQL have the same three statements.
type savepoint func(statement string) error

func newSavepoint(ctx context.Context, client any, depth int) (savepoint, error) {
	tx, ok := client.(interface {
		ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	})
	if !ok {
		return nil, fmt.Errorf("transaction: a savepoint needs a client generated with ent's feature sql/execquery; %T has no ExecContext", client)
	}
	name := "savepoint_" + strconv.Itoa(depth)
	execute := func(statement string) error {
		if _, err := tx.ExecContext(context.WithoutCancel(ctx), statement+name); err != nil {
			return fmt.Errorf("transaction: %s%s: %w", statement, name, err)
		}
		return nil
	}
	return execute, execute("SAVEPOINT ")
}

// undo undoes what was done since the savepoint, and removes it.
func (execute savepoint) undo() error {
	return errors.Join(execute("ROLLBACK TO SAVEPOINT "), execute("RELEASE SAVEPOINT "))
}

// Nested returns a begin function for [Middleware] whose transactions are savepoints of the transaction that client is
// bound to. With it, all requests of a test leave nothing when that transaction is rolled back:
//
//	tx, err := client.Tx(ctx)
//	…
//	defer tx.Rollback()
//	e.Use(transaction.Middleware(transaction.Nested(tx.Client())))
//
// The requests run one after another. Such a test does not detect a reading request that writes, or a client that is used after
// its request has ended. The client must have been generated with ent's feature sql/execquery.
func Nested[C any](client C) func(context.Context, *sql.TxOptions) (Tx[C], error) {
	turn := make(chan struct{}, 1)
	return func(ctx context.Context, _ *sql.TxOptions) (Tx[C], error) {
		select {
		case turn <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		point, err := newSavepoint(ctx, client, 0)
		if err != nil {
			<-turn
			return nil, err
		}
		return &nested[C]{point, client, sync.OnceFunc(func() { <-turn })}, nil
	}
}

// nested is a transaction inside another one.
type nested[C any] struct {
	savepoint
	client C
	done   func() // lets the next transaction begin
}

func (n *nested[C]) Client() C { return n.client }

// Commit keeps what was done since the savepoint. If that fails, the middleware rolls back.
func (n *nested[C]) Commit() error {
	err := n.savepoint("RELEASE SAVEPOINT ")
	if err == nil {
		n.done()
	}
	return err
}

func (n *nested[C]) Rollback() error {
	defer n.done()
	return n.undo()
}
