package book

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/bits"

	"entgo.io/ent/dialect"

	"daybook/ent"
	"daybook/ent/schema"
)

// What an export reads at a time: entries, and bytes of their text.
const exportSize, exportText = 1000, 1 << 20

// Export writes the log to out, oldest first, up to what is recorded when it begins. A line is a message or the removal of one:
//
//	{"id":1,"value":"hello","recorded_at":"2026-11-20T17:42:12.123456Z","idempotency_key":"…"}
//	{"id":11,"removes":10,"recorded_at":"2026-11-20T17:43:00.5Z"}
//
// Entries do not change, so one batch after another is as good as a snapshot, less what is removed meanwhile. While out is slow, it
// holds no connection to the database, and no more memory than a batch. Servers with the same database may be running. It calls
// progress with the number of the entry that it has reached, and that of the last one.
func Export(ctx context.Context, driver dialect.Driver, out io.Writer, progress func(done, total int64)) error {
	from := Reader{
		Client: ent.NewClient(ent.Driver(driver)), Dialect: driver.Dialect(), Horizon: &Horizon{}, Largest: schema.MaxValue, Keys: true,
	}
	last, err := from.UpTo(ctx)
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	var lines bytes.Buffer
	encoder := json.NewEncoder(&lines)
	encoder.SetEscapeHTML(false)
	size := exportSize
	for after, more := 0, true; more; progress(int64(after), int64(last)) {
		var batch []*ent.Message
		if batch, more, err = from.Take(ctx, OldestFirst, size, exportText, between(after, last)...); err != nil {
			return fmt.Errorf("export: %w", err)
		}
		size = min(exportSize, 1<<bits.Len(uint(len(batch)))) // PostgreSQL looks at as many messages as it is asked for
		for _, m := range batch {
			after = m.ID
			if err := encoder.Encode(entryOf(m)); err != nil {
				return fmt.Errorf("export message %d: %w", m.ID, err)
			}
		}
		if _, err := lines.WriteTo(out); err != nil {
			return fmt.Errorf("export: %w", err)
		}
	}
	return nil
}
