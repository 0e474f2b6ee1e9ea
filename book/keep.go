package book

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"entgo.io/ent/dialect"

	"daybook/ent"
	"daybook/ent/message"
	"daybook/ent/schema"
)

// What one transaction drops: entries, and bytes of their text. After each, Keep pauses. So it drops as fast as a busy server
// records, and the 99th percentile of recording was the same with it and without (docs/operating.md).
const (
	dropSize, dropText = 100, 1 << 20
	dropPause          = 20 * time.Millisecond
)

// Keep drops the entries that are older than age: at once and then every minute, or a tenth of age if that is less, until ctx ends.
// Each transaction is small. Several processes may do so at once. It calls dropped after each transaction, because subscribers may
// share what was dropped. It logs errors, and tries again the next time.
func Keep(ctx context.Context, driver dialect.Driver, age time.Duration, dropped func(), log *slog.Logger) {
	from := Reader{Client: ent.NewClient(ent.Driver(driver)), Dialect: driver.Dialect(), Largest: schema.MaxValue}
	for ctx.Err() == nil {
		pause := min(time.Minute, age/10)
		more, err := from.drop(ctx, time.Now().Add(-age))
		if err != nil && ctx.Err() == nil {
			log.LogAttrs(ctx, slog.LevelError, "drop old messages", slog.Any("error", err))
		}
		dropped()
		if more && err == nil {
			pause = dropPause
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// drop drops the first entries before a time, and reports whether there are more.
func (r Reader) drop(ctx context.Context, before time.Time) (more bool, err error) {
	old, more, err := r.Take(ctx, message.ByRecordedAt(), dropSize, dropText, message.RecordedAtLT(before.UTC()))
	if err != nil || len(old) == 0 {
		return false, err
	}
	ids := make([]int, len(old))
	for i, m := range old {
		ids[i] = m.ID
	}
	tx, err := r.Client.Tx(ctx)
	if err != nil {
		return false, err
	}
	if _, err := tx.Message.Delete().Where(message.IDIn(ids...)).Exec(ctx); err != nil {
		return false, errors.Join(err, tx.Rollback())
	}
	return more, tx.Commit()
}
