package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/dialect/entsql"
	"entgo.io/ent/schema"
	"entgo.io/ent/schema/field"
)

// Slice is a part of the index by which messages are searched, as package handlers describes it: what one bit of the
// signature of each message in a segment is.
type Slice struct {
	ent.Schema
}

// Annotations of the Slice.
func (Slice) Annotations() []schema.Annotation {
	return []schema.Annotation{entsql.Table("slices")}
}

// Fields of the Slice.
func (Slice) Fields() []ent.Field {
	counted := false // its number says where it belongs
	return []ent.Field{
		field.Int("id").Annotations(entsql.Annotation{Incremental: &counted}),
		field.Bytes("bits").Immutable(),
	}
}
