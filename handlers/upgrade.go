package handlers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"daybook/ent"
	"daybook/ent/message"
	"daybook/ent/schema"
)

// One transaction folds at most foldBatch messages, and fewer when they have foldBatchSize bytes of text.
const (
	foldBatch     = 1000
	foldBatchSize = 1 << 20
)

// progressInterval is how often the log says how far an upgrade is.
const progressInterval = 2 * time.Second

// Upgrade brings the messages that an older version has recorded up to date, which takes some ten seconds for a million. It must be
// called after database.Migrate, and before messages are recorded or searched. If it is stopped half-way, by ctx or by a crash, the
// next call continues where it was.
func Upgrade(ctx context.Context, client *ent.Client, log *slog.Logger) error {
	if _, err := client.ExecContext(ctx, "DROP TABLE IF EXISTS slices"); err != nil { // the index of version 2
		return fmt.Errorf("drop the old index: %w", err)
	}
	if err := foldMessages(ctx, client, log); err != nil {
		return fmt.Errorf("fold messages: %w", err)
	}
	return nil
}

// foldMessages folds the messages that are not folded yet. It begins with the oldest, so that one look at the newest message tells
// whether there is anything to do.
func foldMessages(ctx context.Context, client *ent.Client, log *slog.Logger) error {
	newest, err := everything.query(client, newestFirst).Select(message.FieldID, message.FieldFolded).First(ctx)
	if err != nil || newest.Folded != "" {
		return ent.MaskNotFound(err)
	}
	last, logged := 0, time.Now()
	for last < newest.ID {
		messages, err := unfolded(ctx, client, last)
		if err != nil {
			return err
		}
		if len(messages) == 0 {
			return nil // another process has folded the rest
		}
		if err := fold(ctx, client, messages); err != nil {
			return err
		}
		if last = messages[len(messages)-1].ID; last >= newest.ID || time.Since(logged) >= progressInterval {
			logged = time.Now()
			log.LogAttrs(ctx, slog.LevelInfo, "folded messages for searching", slog.Int("up_to", last), slog.Int("of", newest.ID))
		}
	}
	return nil
}

// unfolded returns the next batch: messages after the one with the number last that are not folded.
func unfolded(ctx context.Context, client *ent.Client, last int) (found []*ent.Message, err error) {
	size := 0
	for m, err := range rows(ctx, client, oldestFirst, message.IDGT(last), message.FoldedIsNil()) {
		if err != nil {
			return nil, err
		}
		found = append(found, m)
		if size += len(m.Value); len(found) == foldBatch || size >= foldBatchSize {
			break
		}
	}
	return found, nil
}

// fold folds the messages, all of them or none.
func fold(ctx context.Context, client *ent.Client, messages []*ent.Message) error {
	tx, err := client.Tx(ctx)
	if err != nil {
		return err
	}
	for _, m := range messages {
		if err := tx.Message.Update().Where(message.ID(m.ID)).SetFolded(schema.Fold(m.Value)).Exec(ctx); err != nil {
			return errors.Join(err, tx.Rollback())
		}
	}
	return tx.Commit()
}
