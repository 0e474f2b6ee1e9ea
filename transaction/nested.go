package transaction

import (
	"context"
	"database/sql"
	"errors"
)

// Nested returns a begin function for [Middleware] whose transactions are savepoints of the transaction that client is
// bound to. With it, all requests of a test leave nothing when that transaction is rolled back:
//
//	tx, err := client.Tx(ctx)
//	…
//	defer tx.Rollback()
//	e.Use(transaction.Middleware(transaction.Nested(tx.Client())))
//
// The requests run one after another. Such a test cannot detect two mistakes: a reading request that writes, and a client
// that is used after its request has ended. The client must have been generated with ent's feature sql/execquery.
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
		return &nested[C]{client: client, point: point, turn: turn}, nil
	}
}

// nested is a transaction inside another one.
type nested[C any] struct {
	client C
	point  savepoint
	turn   chan struct{}
	ended  bool
}

func (n *nested[C]) Client() C       { return n.client }
func (n *nested[C]) Rollback() error { return n.end(n.point.undo) }

// Commit keeps what was done since the savepoint, or undoes it if that fails.
func (n *nested[C]) Commit() error {
	return n.end(func() error {
		if err := n.point.release(); err != nil {
			return errors.Join(err, n.point.undo())
		}
		return nil
	})
}

func (n *nested[C]) end(last func() error) error {
	if n.ended {
		return sql.ErrTxDone
	}
	n.ended = true
	defer func() { <-n.turn }()
	return last()
}
