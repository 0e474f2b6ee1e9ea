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

// span is the messages with IDs from first to last.
type span struct{ first, last int }

var everything = span{0, math.MaxInt}

// The orders in which messages are read.
var (
	oldestFirst = message.ByID()
	newestFirst = message.ByID(sql.OrderDesc())
)

// contains returns the conditions that a message is in the span and contains the folded words.
func (s span) contains(words []string) (conditions []predicate.Message) {
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

// limits limits what is read at a time.
type limits struct {
	messages int
	text     int // bytes of text, unless the first message alone has more
}

// take returns the first messages that meet the conditions, within the limits, and reports whether there are more.
func take(ctx context.Context, client *ent.Client, order message.OrderOption, most limits, conditions ...predicate.Message) (messages []*ent.Message, more bool, err error) {
	size := 0
	for m, err := range rows(ctx, client, order, conditions) {
		if err != nil {
			return nil, false, err
		}
		size += len(m.Value)
		if len(messages) == most.messages || len(messages) > 0 && size > most.text {
			return messages, true, nil
		}
		messages = append(messages, m)
	}
	return messages, false, nil
}

// rows yields the messages that meet the conditions, one by one from the database, so that many take no more memory than a few.
// The folded value is not read: it is as long as the value, and never shown. An error comes last.
func rows(ctx context.Context, client *ent.Client, order message.OrderOption, conditions []predicate.Message) iter.Seq2[*ent.Message, error] {
	query := sql.Dialect(dialect.SQLite).
		Select(message.FieldID, message.FieldValue, message.FieldRecordedAt).
		From(sql.Table(message.Table))
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
