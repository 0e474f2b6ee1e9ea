package handlers

import (
	"context"
	"iter"
	"math"

	"entgo.io/ent/dialect"
	"entgo.io/ent/dialect/sql"

	"daybook/ent"
	"daybook/ent/message"
	"daybook/ent/predicate"
)

// span is the messages with numbers from first to last.
type span struct{ first, last int }

var (
	everything = span{0, math.MaxInt}
	nothing    = span{0, -1}
)

// The orders in which messages are read.
var (
	oldestFirst = message.ByID()
	newestFirst = message.ByID(sql.OrderDesc())
)

// columns are the columns that are read of a message. The folded value is not among them: it is as long as the value, and nobody
// is shown it.
var columns = []string{message.FieldID, message.FieldValue, message.FieldRecordedAt}

// where returns the conditions that a message is in the span and contains the folded words.
func (s span) where(words []string) (conditions []predicate.Message) {
	if s.first > everything.first {
		conditions = append(conditions, message.IDGTE(s.first))
	}
	if s.last < everything.last {
		conditions = append(conditions, message.IDLTE(s.last))
	}
	for _, word := range words {
		conditions = append(conditions, message.FoldedContains(word)) // LIKE, with its wildcards escaped
	}
	return conditions
}

// query returns the query of the messages of the span that contain the words, in order.
func (s span) query(client *ent.Client, order message.OrderOption, words ...string) *ent.MessageQuery {
	return client.Message.Query().Where(s.where(words)...).Order(order)
}

// take returns the first messages of the span, in order, that contain the words: at most n, and as many as have so many bytes of
// text, but at least one. It reports whether there are more.
func (s span) take(ctx context.Context, client *ent.Client, order message.OrderOption, n, text int, words []string) (messages []*ent.Message, more bool, err error) {
	if s.first > s.last {
		return nil, false, nil
	}
	size := 0
	for m, err := range s.rows(ctx, client, order, words...) {
		if err != nil {
			return nil, false, err
		}
		size += len(m.Value)
		if len(messages) == n || len(messages) > 0 && size > text {
			return messages, true, nil
		}
		messages = append(messages, m)
	}
	return messages, false, nil
}

// rows yields the messages of the span that contain the words, in order.
func (s span) rows(ctx context.Context, client *ent.Client, order message.OrderOption, words ...string) iter.Seq2[*ent.Message, error] {
	return rows(ctx, client, order, s.where(words)...)
}

// rows yields the messages that meet the conditions, in order, as the database hands them out, so that many take no more memory
// than a few. An error comes last.
func rows(ctx context.Context, client *ent.Client, order message.OrderOption, conditions ...predicate.Message) iter.Seq2[*ent.Message, error] {
	query := sql.Dialect(dialect.SQLite).Select(columns...).From(sql.Table(message.Table))
	for _, condition := range conditions {
		condition(query)
	}
	order(query)
	statement, args := query.Query()
	return func(yield func(*ent.Message, error) bool) {
		rows, err := client.QueryContext(ctx, statement, args...)
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
