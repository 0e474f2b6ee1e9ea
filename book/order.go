package book

import (
	"cmp"
	"context"
	"sync/atomic"
	"time"

	"entgo.io/ent/dialect"

	"daybook/ent"
)

// On PostgreSQL, numbers are taken in order but committed in any order. So who goes on after the last message of a page, or of the
// live feed, could miss one with a smaller number that appears later. What they read ends where the order is settled: at an ID up to
// which no message can appear any more. The database finds it (see ent/migrations/postgres/0004_order.sql).

// Horizon is what this process knows of the order.
type Horizon struct {
	settled atomic.Int64 // an ID up to which the order is settled
	seen    atomic.Int64 // the greatest ID that was recorded here
}

// Saw notes the ID of a message or a removal that this process has recorded.
func (h *Horizon) Saw(id int) { raise(&h.seen, int64(id)) }

// Settled returns an ID up to which the order is settled for every snapshot that begins after the call.
func (h *Horizon) Settled() int { return int(h.settled.Load()) }

// News reports whether the order must be asked for: this process has recorded a message up to which it is not settled.
func (h *Horizon) News() bool { return h.seen.Load() > h.settled.Load() }

func raise(n *atomic.Int64, to int64) {
	for old := n.Load(); old < to && !n.CompareAndSwap(old, to); old = n.Load() {
	}
}

// NewestID returns the ID of the newest message or removal, or 0: on PostgreSQL the ID up to which the order is settled.
func (r Reader) NewestID(ctx context.Context) (int, error) {
	if r.Dialect == dialect.Postgres {
		settled, _, err := r.settled(ctx)
		return settled, err
	}
	id, err := r.Client.Message.Query().Order(NewestFirst).FirstID(ctx)
	return id, ent.MaskNotFound(err)
}

// settled returns the ID up to which the order is settled, and the last one that a message was given.
func (r Reader) settled(ctx context.Context) (settled, last int, err error) {
	const query = "SELECT settled_message_id($1), coalesce(pg_sequence_last_value('messages_id_seq'), 0)"
	rows, err := r.Client.QueryContext(ctx, query, r.Horizon.settled.Load())
	if err != nil {
		return 0, 0, err
	}
	defer rows.Close()
	rows.Next()
	if err := cmp.Or(rows.Scan(&settled, &last), rows.Err()); err != nil {
		return 0, 0, err
	}
	raise(&r.Horizon.settled, int64(settled))
	return settled, last, nil
}

// How long a reader waits for others that have a number and have not ended, and how often it looks.
const (
	settleWait  = time.Second
	settlePause = 2 * time.Millisecond
)

// UpTo returns the ID up to which to read for a client that goes on there. What is recorded already is included: on PostgreSQL UpTo
// waits for those that have smaller numbers. But it does not wait for long, since other programs may insert messages, too.
func (r Reader) UpTo(ctx context.Context) (int, error) {
	if r.Dialect != dialect.Postgres {
		return r.NewestID(ctx)
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
