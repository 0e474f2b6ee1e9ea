package book

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"entgo.io/ent/dialect/sql"

	"daybook/ent/message"
)

// known is the part of the log that decides whether some entries can be added.
type known struct {
	entries map[int]content // by their numbers
	removed map[int]bool    // the numbers of messages that entries have removed
	keys    map[string]int  // the numbers of the messages that have them
}

// known reads the entries that have the same numbers or keys as those of the chunk, or that were removed by them or remove them. It
// does not look for numbers that are greater than all in the log: most imports have no others.
func (i *importer) known(ctx context.Context, chunk []entry) (known, error) {
	k := known{map[int]content{}, map[int]bool{}, map[string]int{}}
	var ids, keys []any
	for _, e := range chunk {
		if e.ID <= i.greatest {
			ids = append(ids, e.ID)
		}
		if e.Removes != 0 && e.Removes <= i.greatest {
			ids = append(ids, e.Removes)
		}
		if e.Key != "" {
			keys = append(keys, e.Key)
		}
	}
	if len(ids)+len(keys) == 0 {
		return k, nil
	}
	same := sql.Or(sql.In(message.FieldID, ids...), sql.In(message.FieldRemoves, ids...), sql.In(message.FieldIdempotencyKey, keys...))
	from := Reader{Client: i.tx.Client(), Keys: true}
	statement, args := sql.Dialect(i.dialect).Select(from.columns()...).From(sql.Table(message.Table)).Where(same).Query()
	for m, err := range from.scan(ctx, statement, args) {
		if err != nil {
			return k, err
		}
		k.add(entryOf(m))
	}
	return k, nil
}

// add adds an entry.
func (k known) add(e entry) {
	k.entries[e.ID] = e.content()
	if e.Key != "" {
		k.keys[e.Key] = e.ID
	}
	if e.Removes != 0 {
		k.removed[e.Removes] = true
		delete(k.entries, e.Removes)
		maps.DeleteFunc(k.keys, func(_ string, id int) bool { return id == e.Removes })
	}
}

// The reasons not to add an entry for which it is not refused.
var (
	errKnown   = errors.New("it is here already")
	errRemoved = errors.New("it was removed here")
)

// conflict returns why an entry cannot be added.
func (k known) conflict(e entry) error {
	other, found := k.entries[e.ID]
	holder, held := k.keys[e.Key]
	switch {
	case found && other == e.content():
		return errKnown
	case found, e.Removes != 0 && k.removed[e.ID]:
		return fmt.Errorf("message %d is another one here", e.ID)
	case k.removed[e.ID]:
		return errRemoved
	case e.Removes != 0 && k.removed[e.Removes]:
		return errKnown // by another entry
	case e.Removes != 0 && k.entries[e.Removes].removes != 0:
		return fmt.Errorf("number %d is that of a removal here", e.Removes)
	case held:
		return fmt.Errorf("its idempotency key is that of message %d", holder)
	}
	return nil
}
