package transaction

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"

	"github.com/labstack/echo/v4"
)

// execer is a client that was generated with ent's feature sql/execquery.
type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// Savepoint calls the function with the request's client. If the function returns an error or panics, only what it did in
// the database is undone. Savepoint returns the error, and the request may continue. Savepoints nest.
//
// The client must have been generated with ent's feature sql/execquery.
func Savepoint[C any](c echo.Context, fn func(client C) error) (err error) {
	a := current(c)
	client := Client[C](c)
	a.depth++
	defer func() { a.depth-- }()
	point, err := newSavepoint(c.Request().Context(), client, a.depth)
	if err != nil {
		return err
	}
	mark := a.hooks.mark()
	kept := false
	defer func() {
		if kept {
			return
		}
		a.hooks.undo(mark)
		if undoErr := point.undo(); undoErr != nil {
			a.broken = undoErr // it cannot be undone alone, so the whole transaction must be
			err = errors.Join(err, undoErr)
		}
	}()
	if err := fn(client); err != nil {
		return err
	}
	if err := point.release(); err != nil {
		return err
	}
	kept = true
	return nil
}

// savepoint is a savepoint of the database's. SQLite, PostgreSQL and MySQL have the same three statements.
type savepoint struct {
	ctx  context.Context
	tx   execer
	name string
}

func newSavepoint(ctx context.Context, client any, depth int) (savepoint, error) {
	tx, ok := client.(execer)
	if !ok {
		return savepoint{}, fmt.Errorf("transaction: a savepoint needs a client generated with ent's feature sql/execquery; %T has no ExecContext", client)
	}
	p := savepoint{context.WithoutCancel(ctx), tx, "savepoint_" + strconv.Itoa(depth)}
	return p, p.exec("SAVEPOINT ")
}

func (p savepoint) release() error {
	return p.exec("RELEASE SAVEPOINT ")
}

// undo undoes what was done since the savepoint, and removes it.
func (p savepoint) undo() error {
	return errors.Join(p.exec("ROLLBACK TO SAVEPOINT "), p.release())
}

func (p savepoint) exec(statement string) error {
	if _, err := p.tx.ExecContext(p.ctx, statement+p.name); err != nil {
		return fmt.Errorf("transaction: %s%s: %w", statement, p.name, err)
	}
	return nil
}
