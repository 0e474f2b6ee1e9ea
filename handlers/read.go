package handlers

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"sync/atomic"
	"time"

	"entgo.io/ent/dialect"
	"entgo.io/ent/dialect/sql"

	"daybook/ent"
	"daybook/ent/message"
	"daybook/ent/predicate"
)

// reader reads messages, with a client of a database that speaks the dialect.
type reader struct {
	client  *ent.Client
	dialect string
	known   *atomic.Int64 // what settled has returned last
}

// take returns the first messages that meet the conditions, and reports whether there are more: at most so many, and with so many
// bytes of text, unless the first one alone has more.
func (r reader) take(
	ctx context.Context, order message.OrderOption, most, text int, conditions ...predicate.Message,
) (messages []*ent.Message, more bool, err error) {
	size := 0
	for m, err := range r.rows(ctx, order, most+1, text, conditions) {
		if err != nil {
			return nil, false, err
		}
		size += len(m.Value)
		if len(messages) == most || len(messages) > 0 && size > text {
			return messages, true, nil
		}
		messages = append(messages, m)
	}
	return messages, false, nil
}

// rows yields the first messages that meet the conditions, one by one from the database, so that many take no more memory than a
// few: at most so many, and all those before which there are no more than so many bytes of text. It does not read the folded value,
// which is as long as the value. An error comes last.
func (r reader) rows(
	ctx context.Context, order message.OrderOption, most, text int, conditions []predicate.Message,
) iter.Seq2[*ent.Message, error] {
	query := sql.Dialect(r.dialect).
		Select(message.FieldID, message.FieldValue, message.FieldRecordedAt).
		From(sql.Table(message.Table)).
		Limit(most)
	for _, condition := range conditions {
		condition(query)
	}
	order(query)
	statement, args := query.Query()
	if r.dialect == dialect.Postgres { // which sends the whole result, however much of it is read
		statement = fmt.Sprintf(`SELECT id, value, recorded_at FROM (
			SELECT *, sum(octet_length(value)) OVER (ROWS UNBOUNDED PRECEDING) AS size FROM (%s) AS message
		) AS message WHERE size - octet_length(value) <= %d`, statement, text)
	}
	return func(yield func(*ent.Message, error) bool) {
		rows, err := r.client.QueryContext(ctx, statement, args...)
		if err != nil {
			yield(nil, err)
			return
		}
		defer rows.Close()
		for rows.Next() {
			var m ent.Message
			err := rows.Scan(&m.ID, &m.Value, &m.RecordedAt)
			if !yield(&m, err) || err != nil {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(nil, err)
		}
	}
}

// newestID returns the ID of the newest message, or 0: on PostgreSQL an ID up to which no message can appear any more, as long as
// others have taken a number that cannot be seen yet.
func (r reader) newestID(ctx context.Context) (int, error) {
	if r.dialect == dialect.Postgres {
		settled, _, err := r.settled(ctx)
		return settled, err
	}
	id, err := r.client.Message.Query().Order(newestFirst).FirstID(ctx)
	return id, ent.MaskNotFound(err)
}

// settled returns an ID up to which no message can appear any more, and the last one that was given to a message.
func (r reader) settled(ctx context.Context) (settled, last int, err error) {
	const query = "SELECT settled_message_id($1), coalesce(pg_sequence_last_value('messages_id_seq'), 0)"
	rows, err := r.client.QueryContext(ctx, query, r.known.Load())
	if err != nil {
		return 0, 0, err
	}
	defer rows.Close()
	rows.Next()
	if err := cmp.Or(rows.Scan(&settled, &last), rows.Err()); err != nil {
		return 0, 0, err
	}
	r.known.Store(int64(settled))
	return settled, last, nil
}

// settleWait is how long a reader waits for others that record.
const (
	settleWait  = time.Second
	settlePause = 2 * time.Millisecond
)

// upTo returns the ID up to which a reader shows messages who will go on after the last one. On PostgreSQL, numbers are taken in
// order but committed in any order. A message that is already recorded is shown, so upTo waits for those that have smaller numbers;
// but not for long, since other programs may insert, too.
func (r reader) upTo(ctx context.Context) (int, error) {
	if r.dialect != dialect.Postgres {
		return r.newestID(ctx)
	}
	settled, wanted, err := r.settled(ctx)
	for begun := time.Now(); err == nil && settled < wanted && time.Since(begun) < settleWait; {
		time.Sleep(settlePause)
		settled, _, err = r.settled(ctx)
	}
	return settled, err
}
