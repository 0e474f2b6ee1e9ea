// Package book is the log of messages in the database. It reads it in order; finds, records and removes messages; brings those of
// an older version up to date; moves them from one database to another; and drops old ones. It knows no HTTP.
//
// A message is recorded once and never edited. Its removal is an entry of the same log, so that one order serves both.
package book

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"entgo.io/ent/dialect"
	"entgo.io/ent/dialect/sql"

	"daybook/database"
	"daybook/ent"
	"daybook/ent/message"
	_ "daybook/ent/runtime" // the hooks of the schema
)

// Channel is where processes announce that something was committed (see database.Notify).
const Channel = "messages"

// The orders in which messages are read.
var (
	OldestFirst = message.ByID()
	NewestFirst = message.ByID(sql.OrderDesc())
)

// NotFound is the error for a number that no message has. Its text is a sentence for whoever has asked.
type NotFound struct {
	ID      int
	Removed bool // there was one
}

func (e NotFound) Error() string {
	if e.Removed {
		return fmt.Sprintf("Message %d was removed.", e.ID)
	}
	return fmt.Sprintf("There is no message %d.", e.ID)
}

// The errors of [Record] for a key that another message has.
var (
	// ErrOtherMessage means that the value is another one.
	ErrOtherMessage = errors.New("another message was recorded with the same key")

	// ErrSameKey means that a transaction has recorded with the key meanwhile. Repeat it, to find what that one has recorded.
	ErrSameKey = errors.New("another request has recorded with the same key meanwhile")
)

// Messages returns a query for messages, without the entries of the log that have removed some.
func Messages(client *ent.Client) *ent.MessageQuery {
	return client.Message.Query().Where(message.RemovesIsNil())
}

// Find returns a message, or the error [NotFound].
func Find(ctx context.Context, client *ent.Client, id int) (*ent.Message, error) {
	found, err := Messages(client).Where(message.ID(id)).Only(ctx)
	if !ent.IsNotFound(err) {
		return found, err
	}
	removed, err := client.Message.Query().Where(message.Removes(id)).Exist(ctx)
	if err != nil {
		return nil, err
	}
	return nil, NotFound{id, removed}
}

// Record stores a message, unless it was stored with the same key before. An empty key is none. On SQLite, of two transactions at
// the same moment one sees what the other has stored; on PostgreSQL the second one to store it waits for the other one, and fails.
func Record(ctx context.Context, client *ent.Client, value, key string) (*ent.Message, error) {
	create := client.Message.Create().SetValue(value)
	if key == "" {
		return create.Save(ctx)
	}
	first, err := client.Message.Query().Where(message.IdempotencyKey(key)).Only(ctx)
	if ent.IsNotFound(err) {
		recorded, err := create.SetIdempotencyKey(key).Save(ctx)
		if database.IsConstraint(err) {
			return nil, fmt.Errorf("%w: %w", ErrSameKey, err)
		}
		return recorded, err
	}
	if err == nil && first.Value != value {
		return nil, ErrOtherMessage
	}
	return first, err
}

// Remove removes a message, and adds the entry of the log that says so. With it, whoever reads the log in order learns of the
// removal after the message, and no number is given out twice. If there is no such message, the error is [NotFound].
func Remove(ctx context.Context, client *ent.Client, id int) (removed, entry *ent.Message, err error) {
	if removed, err = Find(ctx, client, id); err != nil {
		return nil, nil, err
	}
	n, err := client.Message.Delete().Where(message.ID(id)).Exec(ctx)
	if err != nil {
		return nil, nil, err
	}
	gone := NotFound{id, true}
	if n == 0 { // on PostgreSQL: another transaction has removed it since
		return nil, nil, gone
	}
	// The value is for programs that do not know of removals.
	entry, err = client.Message.Create().SetRemoves(id).SetValue(gone.Error()).Save(ctx)
	return removed, entry, err
}

// RemoveAll removes messages, all of them or none, and returns them. Servers with the same database may be running.
func RemoveAll(ctx context.Context, driver dialect.Driver, ids ...int) (all []*ent.Message, err error) {
	tx, err := ent.NewClient(ent.Driver(driver)).Tx(ctx)
	if err != nil {
		return nil, err
	}
	for _, id := range slices.Compact(slices.Sorted(slices.Values(ids))) {
		removed, _, err := Remove(ctx, tx.Client(), id)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("nothing was removed: %w", err), tx.Rollback())
		}
		all = append(all, removed)
	}
	if err := tx.Commit(); err != nil {
		return nil, err
	}
	_ = database.Notify(ctx, driver, Channel) // servers also look each second
	return all, nil
}
