package handlers

import (
	"context"
	"fmt"
	"iter"

	"entgo.io/ent/dialect"
	"entgo.io/ent/dialect/sql"
	"golang.org/x/sync/semaphore"

	"daybook/ent"
	"daybook/ent/message"
	"daybook/ent/predicate"
	"daybook/views"
)

// reader reads messages, with a client of a database that speaks the dialect.
type reader struct {
	client  *ent.Client
	dialect string
	horizon *horizon
	largest int                 // bytes that a message may have
	bulk    *semaphore.Weighted // turns of reading many messages
}

// turn waits for a turn to search, if there are words to search for. Its caller must not hold a connection to the database.
func (r reader) turn(ctx context.Context, words views.Words) (release func(), err error) {
	if len(words) == 0 {
		return func() {}, nil
	}
	return func() { r.bulk.Release(1) }, takeTurn(ctx, r.bulk, 1)
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
// few: at most so many, and at least those before which there are no more than so many bytes of text, and the second one. It does not
// read the folded value, which is as long as the value. An error comes last.
func (r reader) rows(
	ctx context.Context, order message.OrderOption, most, text int, conditions []predicate.Message,
) iter.Seq2[*ent.Message, error] {
	query := sql.Dialect(r.dialect).
		Select(message.FieldID, message.FieldValue, message.FieldRecordedAt, message.FieldRemoves).
		From(sql.Table(message.Table)).
		Limit(most)
	for _, condition := range conditions {
		condition(query)
	}
	order(query)
	statement, args := query.Query()
	// PostgreSQL sends the whole result, however much of it is read. For an ordinary page, that is little more.
	if much := most > pageSize+1 || most*r.largest > 4*text; much && r.dialect == dialect.Postgres {
		statement = fmt.Sprintf(`SELECT id, value, recorded_at, removes FROM (
			SELECT *, row_number() OVER rows AS place, sum(octet_length(value)) OVER rows AS size
			FROM (%s) AS message WINDOW rows AS (ROWS UNBOUNDED PRECEDING)
		) AS message WHERE size - octet_length(value) <= %d OR place = 2`, statement, text)
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
			err := rows.Scan(&m.ID, &m.Value, &m.RecordedAt, &m.Removes)
			if !yield(&m, err) || err != nil {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(nil, err)
		}
	}
}
