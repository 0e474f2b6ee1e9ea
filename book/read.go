package book

import (
	"context"
	stdsql "database/sql"
	"fmt"
	"iter"
	"strings"

	"entgo.io/ent/dialect"
	"entgo.io/ent/dialect/sql"

	"daybook/ent"
	"daybook/ent/message"
	"daybook/ent/predicate"
)

// Reader reads messages, with a client of a database that speaks the dialect.
type Reader struct {
	Client  *ent.Client
	Dialect string
	Horizon *Horizon
	Largest int  // bytes that a message may have
	Keys    bool // whether it reads idempotency keys, too
}

// Take returns the first messages that meet the conditions, and reports whether there are more: at most so many, and with so many
// bytes of text, unless the first one alone has more.
func (r Reader) Take(
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

// few is how many messages an ordinary page has, and one more.
const few = 51

// rows yields the first messages that meet the conditions, one by one from the database, so that many take no more memory than a
// few: at most so many, and at least those before which there are no more than so many bytes of text, and the second one. An error
// comes last.
func (r Reader) rows(
	ctx context.Context, order message.OrderOption, most, text int, conditions []predicate.Message,
) iter.Seq2[*ent.Message, error] {
	query := sql.Dialect(r.Dialect).
		Select(r.columns()...).
		From(sql.Table(message.Table)).
		Limit(most)
	for _, condition := range conditions {
		condition(query)
	}
	order(query)
	statement, args := query.Query()
	// PostgreSQL sends the whole result, however much of it is read. For an ordinary page, that is little more.
	if much := most > few || most*r.Largest > 4*text; much && r.Dialect == dialect.Postgres {
		statement = fmt.Sprintf(`SELECT %s FROM (
			SELECT *, row_number() OVER rows AS place, sum(octet_length(value)) OVER rows AS size
			FROM (%s) AS message WINDOW rows AS (ROWS UNBOUNDED PRECEDING)
		) AS message WHERE size - octet_length(value) <= %d OR place = 2`, strings.Join(r.columns(), ", "), statement, text)
	}
	return r.scan(ctx, statement, args)
}

// columns returns those that are read: not the folded value, which is as long as the value.
func (r Reader) columns() []string {
	names := []string{message.FieldID, message.FieldValue, message.FieldRecordedAt, message.FieldRemoves}
	if r.Keys {
		names = append(names, message.FieldIdempotencyKey)
	}
	return names
}

// scan yields the rows of a query, which have the columns, one by one from the database.
func (r Reader) scan(ctx context.Context, statement string, args []any) iter.Seq2[*ent.Message, error] {
	return func(yield func(*ent.Message, error) bool) {
		rows, err := r.Client.QueryContext(ctx, statement, args...)
		if err != nil {
			yield(nil, err)
			return
		}
		defer rows.Close()
		for rows.Next() {
			var m ent.Message
			var key stdsql.NullString
			fields := []any{&m.ID, &m.Value, &m.RecordedAt, &m.Removes}
			if r.Keys {
				fields = append(fields, &key)
			}
			err := rows.Scan(fields...)
			m.IdempotencyKey = key.String
			if !yield(&m, err) || err != nil {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(nil, err)
		}
	}
}

// What a follower holds in memory at most: messages, and bytes of their text.
const followSize, followText = 100, 64 << 10

// Following returns the next messages and removals for a follower. It does not read one more to see that there is one.
func (r Reader) Following(ctx context.Context, after, upTo int) (messages []*ent.Message, err error) {
	size := 0
	for m, err := range r.rows(ctx, OldestFirst, followSize, followText, between(after, upTo)) {
		if err != nil {
			return nil, err
		}
		messages = append(messages, m)
		if size += len(m.Value); size >= followText {
			break
		}
	}
	return messages, nil
}

// Removes reports whether a message was removed by an entry after one, up to another.
func (r Reader) Removes(ctx context.Context, after, upTo int) (bool, error) {
	return r.Client.Message.Query().Where(between(after, upTo)...).Where(message.RemovesNotNil()).Exist(ctx)
}

// between returns the conditions that a message or a removal comes after one, up to another.
func between(after, upTo int) []predicate.Message {
	return []predicate.Message{message.IDGT(after), message.IDLTE(upTo)}
}
