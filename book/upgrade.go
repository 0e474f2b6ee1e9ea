package book

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"entgo.io/ent/dialect"
	"entgo.io/ent/dialect/sql"

	"daybook/ent"
	"daybook/ent/message"
	"daybook/ent/schema"
)

// What one transaction folds: messages, and bytes of their text.
const foldSize, foldText = 2000, 1 << 20

// Upgrade folds the messages that an older version recorded, so that they can be searched; a million takes about ten seconds. Call
// it after database.Migrate, before messages are recorded. After an interruption, the next call continues. It logs a warning if the
// database has no index for searching.
func Upgrade(ctx context.Context, driver dialect.Driver, log *slog.Logger) error {
	client := ent.NewClient(ent.Driver(driver))
	if err := warnOfMissingIndex(ctx, client, driver.Dialect(), log); err != nil {
		return fmt.Errorf("look for the index for searching: %w", err)
	}
	from := Reader{Client: client, Dialect: driver.Dialect()}
	// The oldest are folded first, so the newest shows whether anything is left.
	newest, err := client.Message.Query().Order(NewestFirst).Select(message.FieldID, message.FieldFolded).First(ctx)
	if err != nil || newest.Folded != "" {
		return ent.MaskNotFound(err)
	}
	for folded := 0; folded < newest.ID; {
		batch, _, err := from.Take(ctx, OldestFirst, foldSize, foldText, message.IDGT(folded), message.FoldedIsNil())
		if err == nil {
			err = fold(ctx, client, batch)
		}
		if err != nil {
			return fmt.Errorf("fold messages: %w", err)
		}
		if len(batch) == 0 {
			return nil // another process has folded the rest
		}
		folded = batch[len(batch)-1].ID
		log.LogAttrs(ctx, slog.LevelInfo, "folded messages for searching", slog.Int("up_to", folded), slog.Int("of", newest.ID))
	}
	return nil
}

// warnOfMissingIndex logs a warning if the server has no pg_trgm, or did not let the migration's role use it. On SQLite, every search
// reads the messages.
func warnOfMissingIndex(ctx context.Context, client *ent.Client, name string, log *slog.Logger) error {
	if name != dialect.Postgres {
		return nil
	}
	rows, err := client.QueryContext(ctx, "SELECT to_regclass('messages_folded_trigrams') IS NULL")
	if err != nil {
		return err
	}
	defer rows.Close()
	missing, err := sql.ScanBool(rows)
	if missing {
		log.LogAttrs(ctx, slog.LevelWarn, "searches read every message, because there is no index for them: "+
			"install the extension pg_trgm and create the index (docs/operating.md, Search)")
	}
	return err
}

// fold folds the messages in one transaction.
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
