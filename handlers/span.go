package handlers

import (
	"context"
	"math"

	"entgo.io/ent/dialect"
	"entgo.io/ent/dialect/sql"

	"daybook/ent"
	"daybook/ent/message"
	"daybook/ent/predicate"
)

// span is the messages with IDs from first to last.
type span struct{ first, last int }

var everything = span{0, math.MaxInt - 1}

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

// take returns the first messages that meet the conditions: at most so many, and with so many bytes of text, unless the first one
// alone has more. It reports whether there are more messages. It reads one by one, since the text decides where to stop, and does
// not read the folded value, which is as long as the value.
func take(ctx context.Context, client *ent.Client, order message.OrderOption, most, text int, conditions ...predicate.Message) (messages []*ent.Message, more bool, err error) {
	query := sql.Dialect(dialect.SQLite).
		Select(message.FieldID, message.FieldValue, message.FieldRecordedAt).
		From(sql.Table(message.Table))
	for _, condition := range conditions {
		condition(query)
	}
	order(query)
	statement, args := query.Query()
	rows, err := client.QueryContext(ctx, statement, args...)
	if err != nil {
		return nil, false, err
	}
	defer rows.Close()
	for size := 0; rows.Next(); {
		var m ent.Message
		if err := rows.Scan(&m.ID, &m.Value, &m.RecordedAt); err != nil {
			return nil, false, err
		}
		size += len(m.Value)
		if len(messages) == most || len(messages) > 0 && size > text {
			return messages, true, nil
		}
		messages = append(messages, &m)
	}
	return messages, false, rows.Err()
}
