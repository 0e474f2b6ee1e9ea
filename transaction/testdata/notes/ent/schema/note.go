// Package schema describes what is stored.
package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/schema/field"
)

// Note is a text that is there once.
type Note struct {
	ent.Schema
}

// Fields of the Note.
func (Note) Fields() []ent.Field {
	return []ent.Field{
		field.String("text").NotEmpty().Unique(),
		field.Bool("pinned").Default(false),
	}
}
