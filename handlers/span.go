package handlers

import (
	"context"
	"fmt"
	"iter"
	"math"
	"strings"

	"daybook/ent"
	"daybook/ent/message"
)

// span is the messages with numbers from first to last.
type span struct{ first, last int }

var (
	everything = span{0, math.MaxInt}
	nothing    = span{0, -1}
)

// within returns the part of the span that lies in the other one, too.
func (s span) within(other span) span {
	return span{max(s.first, other.first), min(s.last, other.last)}
}

// order is the order in which messages are read.
type order string

const (
	oldestFirst order = "ASC"
	newestFirst order = "DESC"
)

// query returns the query of the span's messages, in order.
func (s span) query(client *ent.Client, order order) *ent.MessageQuery {
	query := client.Message.Query()
	if s.first > everything.first {
		query.Where(message.IDGTE(s.first))
	}
	if s.last < everything.last {
		query.Where(message.IDLTE(s.last))
	}
	if order == newestFirst {
		return query.Order(ent.Desc(message.FieldID))
	}
	return query.Order(ent.Asc(message.FieldID))
}

// rows yields the messages of the span, in order.
func (s span) rows(ctx context.Context, client *ent.Client, order order) iter.Seq2[*ent.Message, error] {
	return rows(ctx, client, "BETWEEN ? AND ?", order, s.first, s.last)
}

// chunkSize is how many messages are read by their numbers at a time.
const chunkSize = 128

// oneOf is a condition that takes as many numbers. It is always the same, so that it is prepared once.
var oneOf = "IN (?" + strings.Repeat(", ?", chunkSize-1) + ")"

// some yields the messages with the numbers, of which there are at most chunkSize, in order.
func some(ctx context.Context, client *ent.Client, numbers []int, order order) iter.Seq2[*ent.Message, error] {
	args := make([]any, chunkSize)
	for i := range args {
		args[i] = numbers[min(i, len(numbers)-1)] // the last one again, in place of more
	}
	return rows(ctx, client, oneOf, order, args...)
}

// rows yields the messages whose numbers meet the condition, in order, as the database hands them out, so that many take no more
// memory than a few. An error comes last.
func rows(ctx context.Context, client *ent.Client, condition string, order order, args ...any) iter.Seq2[*ent.Message, error] {
	return func(yield func(*ent.Message, error) bool) {
		rows, err := client.QueryContext(ctx, fmt.Sprintf("SELECT %s, %s, %s FROM %s WHERE %[1]s %[5]s ORDER BY %[1]s %[6]s",
			message.FieldID, message.FieldValue, message.FieldRecordedAt, message.Table, condition, order), args...)
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
