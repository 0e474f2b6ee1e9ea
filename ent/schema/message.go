// Package schema describes what Daybook stores. It is the part of ent that is written by hand.
package schema

import (
	"strings"
	"time"
	"unicode/utf8"

	"entgo.io/ent"
	"entgo.io/ent/dialect/entsql"
	"entgo.io/ent/schema/field"
	"entgo.io/ent/schema/index"
)

// MaxValue is the size in bytes that no message exceeds, whatever the server's own limit.
const MaxValue = 16 << 20

// Invalid is the error of a value that no message may have. It reads as what follows "The message".
type Invalid string

// What a value can be refused for.
const (
	Empty       Invalid = "is empty"
	NotUTF8     Invalid = "is not valid UTF-8 text"
	ContainsNUL Invalid = "contains a NUL character"
)

func (e Invalid) Error() string { return string(e) }

// Version numbers the schema. It goes up when a database that the new schema has written is not for the old one.
const Version = 3

// Message is one entry of the book. It is never edited.
type Message struct {
	ent.Schema
}

// Fields of the Message.
func (Message) Fields() []ent.Field {
	return []ent.Field{
		field.Text("value").
			MaxLen(MaxValue).
			Validate(validate).
			Immutable(),
		field.Time("recorded_at").
			Default(now).
			Immutable(),
		field.String("idempotency_key").
			Optional().
			Immutable(),
		// The value as a search compares it. A message that was recorded before version 3 has none until it is folded; and a column
		// that may be NULL is added without a copy of the table.
		field.Text("folded").
			Sensitive().
			Optional(),
	}
}

// Hooks of the Message.
func (Message) Hooks() []ent.Hook {
	return []ent.Hook{foldValue}
}

// Indexes of the Message. Most messages have no key, and are not in the index.
func (Message) Indexes() []ent.Index {
	return []ent.Index{
		index.Fields("idempotency_key").
			Unique().
			Annotations(entsql.IndexWhere("idempotency_key IS NOT NULL")),
	}
}

// validate refuses what one of the databases or a reader could not take: PostgreSQL has no NUL in text.
func validate(value string) error {
	switch {
	case value == "":
		return Empty
	case !utf8.ValidString(value):
		return NotUTF8
	case strings.ContainsRune(value, 0):
		return ContainsNUL
	}
	return nil
}

// now has the microseconds that every database keeps and no more, so that a message reads back as it was recorded.
func now() time.Time {
	return time.Now().UTC().Truncate(time.Microsecond)
}
