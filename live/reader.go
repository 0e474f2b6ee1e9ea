package live

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"weak"

	"daybook/ent"
	"daybook/ent/message"
)

// reader reads batches of messages from the database.
type reader struct {
	client *ent.Client

	mu      sync.Mutex
	batches map[int]weak.Pointer[batch] // those that a subscriber holds, by the ID of the message before them
}

func newReader(client *ent.Client) *reader {
	return &reader{client: client, batches: map[int]weak.Pointer[batch]{}}
}

// following selects what may be in a batch. Its rows are scanned one by one until the batch is full, because how many that takes
// depends on their text.
var following = fmt.Sprintf("SELECT %s, %s, %s FROM %s WHERE %[1]s > ? ORDER BY %[1]s LIMIT %[5]d",
	message.FieldID, message.FieldValue, message.FieldRecordedAt, message.Table, maxBatch)

// after returns the messages after the one with the ID last. If the batch is full, there may be more.
func (r *reader) after(ctx context.Context, last int) (*batch, error) {
	rows, err := r.client.QueryContext(ctx, following, last)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	next := new(batch)
	for !next.full() && rows.Next() {
		var row ent.Message
		if err := rows.Scan(&row.ID, &row.Value, &row.RecordedAt); err != nil {
			return nil, err
		}
		next.add(&Message{Message: &row})
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	return next, nil
}

// shared is after for many: a batch that another subscriber holds is in memory only once. A thousand that stopped reading at the
// same place hold one batch, not a thousand copies. They read one at a time, which also leaves the database to others.
func (r *reader) shared(ctx context.Context, last int) (*batch, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if held := r.batches[last].Value(); held != nil {
		return held, nil
	}
	next, err := r.after(ctx, last)
	if err != nil {
		return nil, err
	}
	if next.full() { // and so stays the same
		r.batches[last] = weak.Make(next)
		runtime.AddCleanup(next, r.forget, last)
	}
	return next, nil
}

// forget drops the pointer to a batch that nobody holds, unless it has been read again meanwhile.
func (r *reader) forget(last int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.batches[last].Value() == nil {
		delete(r.batches, last)
	}
}
