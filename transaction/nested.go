package transaction

import (
	"context"
	"database/sql"
)

// Nested returns a begin for [Middleware] whose transactions are savepoints of the one that client is bound to. With it, all
// requests of a test leave nothing when that one is rolled back:
//
//	tx, err := client.Tx(ctx)
//	…
//	defer tx.Rollback()
//	e.Use(transaction.Middleware(transaction.Nested(tx.Client())))
//
// The requests run one after another. Two mistakes go unnoticed in such a test: a reading request can write, and a client
// that is kept after its request still works. The client must have been generated with ent's feature sql/execquery.
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
}

func (n *nested[C]) Client() C       { return n.client }
func (n *nested[C]) Commit() error   { return n.end(n.point.release) }
func (n *nested[C]) Rollback() error { return n.end(n.point.undo) }

func (n *nested[C]) end(last func() error) error {
	defer func() { <-n.turn }()
	return last()
}
