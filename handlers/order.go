package handlers

import (
	"cmp"
	"context"
	"errors"
	"sync/atomic"
	"time"

	"entgo.io/ent/dialect"

	"daybook/ent"
)

// On PostgreSQL, numbers are taken in order but committed in any order. So who goes on after the last message of a page, or of the
// live feed, could miss one with a smaller number that appears later. What they read ends where the order is settled: at an ID up to
// which no message can appear any more. The database finds it (see ent/migrations/postgres/0004_order.sql).

// horizon is what this process knows of the order.
type horizon struct {
	settled atomic.Int64 // an ID up to which the order is settled
	seen    atomic.Int64 // the greatest ID that was recorded or read here
}

// saw notes the ID of a message, and reports whether the order is settled up to there.
func (h *horizon) saw(id int) (settled bool) {
	raise(&h.seen, int64(id))
	return int64(id) <= h.settled.Load()
}

// news reports whether the order must be asked for: a message is known up to which it is not settled.
func (h *horizon) news() bool { return h.seen.Load() > h.settled.Load() }

func raise(n *atomic.Int64, to int64) {
	for old := n.Load(); old < to && !n.CompareAndSwap(old, to); old = n.Load() {
	}
}

// errUnsettled is the error of a page that was read before the order of its messages was settled. It is read again.
var errUnsettled = errors.New("the page has messages whose order is not settled")

// newestID returns the ID of the newest message or removal, or 0: on PostgreSQL the ID up to which the order is settled.
func (r reader) newestID(ctx context.Context) (int, error) {
	if r.dialect == dialect.Postgres {
		settled, _, err := r.settled(ctx)
		return settled, err
	}
	id, err := r.client.Message.Query().Order(newestFirst).FirstID(ctx)
	return id, ent.MaskNotFound(err)
}

// settled returns the ID up to which the order is settled, and the last one that a message was given.
func (r reader) settled(ctx context.Context) (settled, last int, err error) {
	const query = "SELECT settled_message_id($1), coalesce(pg_sequence_last_value('messages_id_seq'), 0)"
	rows, err := r.client.QueryContext(ctx, query, r.horizon.settled.Load())
	if err != nil {
		return 0, 0, err
	}
	defer rows.Close()
	rows.Next()
	if err := cmp.Or(rows.Scan(&settled, &last), rows.Err()); err != nil {
		return 0, 0, err
	}
	raise(&r.horizon.settled, int64(settled))
	return settled, last, nil
}

// How long a reader waits for others that have a number and have not ended, and how often it looks.
const (
	settleWait  = time.Second
	settlePause = 2 * time.Millisecond
)

// upTo returns the ID up to which to read for a client that goes on there. What is recorded already is included: on PostgreSQL upTo
// waits for those that have smaller numbers. But it does not wait for long, since other programs may insert messages, too.
func (r reader) upTo(ctx context.Context) (int, error) {
	if r.dialect != dialect.Postgres {
		return r.newestID(ctx)
	}
	settled, wanted, err := r.settled(ctx)
	for begun := time.Now(); err == nil && settled < wanted && time.Since(begun) < settleWait; {
		select {
		case <-time.After(settlePause):
			settled, _, err = r.settled(ctx)
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	return settled, err
}
