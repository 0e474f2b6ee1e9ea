// Package schema describes what the database stores. It is the part of package ent that is written by hand.
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

// MaxValue is the size limit of every message in bytes. The server's own limit cannot be higher.
const MaxValue = 16 << 20

// Invalid is the error for a value that no message may have. Its text continues the words "The message".
type Invalid string

// The reasons to refuse a value.
const (
	Empty       Invalid = "is empty"
	NotUTF8     Invalid = "is not valid UTF-8 text"
	ContainsNUL Invalid = "contains a NUL character"
)

func (e Invalid) Error() string { return string(e) }

// Message is one message, or the removal of one: an entry of the same log, so that one order serves both. It is never edited.
type Message struct{ ent.Schema }

// Fields of the Message.
func (Message) Fields() []ent.Field {
	return []ent.Field{
		field.Text("value").MaxLen(MaxValue).Validate(validate).Immutable(),
		field.Time("recorded_at").Default(now).Immutable(),
		field.String("idempotency_key").Optional().Immutable(),
		// The value as a search compares it. It may be NULL: messages from before version 3 have none until they are folded, and
		// a database can add such a column without copying the table.
		field.Text("folded").Sensitive().Optional(),
		// The ID of the message that this entry has removed: it is an entry of the log, but no message.
		field.Int("removes").Optional().Nillable().Immutable(),
	}
}

// Hooks of the Message.
func (Message) Hooks() []ent.Hook { return []ent.Hook{foldValue} }

// Indexes of the Message. Those of keys and of removals leave out messages without one, which most are.
func (Message) Indexes() []ent.Index {
	return []ent.Index{
		index.Fields("idempotency_key").Unique().Annotations(entsql.IndexWhere("idempotency_key IS NOT NULL")),
		index.Fields("recorded_at"),
		index.Fields("removes").Unique().Annotations(entsql.IndexWhere("removes IS NOT NULL")),
	}
}

// validate refuses values that some database or reader cannot take: PostgreSQL has no NUL in text.
func validate(value string) error {
	switch {
	case strings.TrimSpace(value) == "":
		return Empty
	case !utf8.ValidString(value):
		return NotUTF8
	case strings.ContainsRune(value, 0):
		return ContainsNUL
	}
	return nil
}

// now returns the time in microseconds, which every database can store, so that a message reads back as it was recorded.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
