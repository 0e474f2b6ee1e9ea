package main

import (
	"context"
	"database/sql"
	"fmt"
)

const (
	few           = 1000 // messages in the small database
	readers       = 16   // connections that read
	readersBeside = 8    // and those that read beside others that record
)

// page is what reading the newest messages meets: in the small database, in the large one, and of the same bytes in memory.
type page struct {
	small, large, memory result
}

// beside is what reading meets alone and beside others that record, and what those meet.
type beside struct {
	alone, busy, recording result
}

// What clients accept that are to get text or HTML.
const (
	acceptText = "*/*"
	acceptHTML = "text/html"
)

// measureReading measures GET /.
func (b *bench) measureReading(ctx context.Context) error {
	if err := b.fill(ctx, "small.db", few); err != nil {
		return err
	}
	if err := b.fill(ctx, "large.db", b.messages); err != nil {
		return err
	}
	small, large := b.ours("small.db"), b.ours("large.db")
	if err := b.serve(ctx, small, large); err != nil {
		return err
	}
	if err := b.measurePage(ctx, &b.text, small, large, "text", acceptText); err != nil {
		return err
	}
	if err := b.measurePage(ctx, &b.html, small, large, "html", acceptHTML); err != nil {
		return err
	}
	read := get(small, "/", acceptText, readersBeside)
	r, err := b.compare(ctx, "read, alone and while others record", []load{read}, []load{read, post(small, b.many)})
	if err != nil {
		return err
	}
	b.beside = beside{r[0], r[1], r[2]}
	return nil
}

// measurePage measures one format of the page, beside Echo alone, which has it from the large database.
func (b *bench) measurePage(ctx context.Context, p *page, small, large *server, format, accept string) error {
	memory := b.bare("http://" + large.address + "/?format=" + format)
	if err := b.serve(ctx, memory); err != nil {
		return err
	}
	r, err := b.compare(ctx, fmt.Sprintf("read %s of %s messages, of %s, and from memory", format, count(few), count(b.messages)),
		[]load{get(small, "/", accept, readers)},
		[]load{get(large, "/", accept, readers)},
		[]load{get(memory, "/page", accept, readers)},
	)
	if err != nil {
		return err
	}
	*p = page{r[0], r[1], r[2]}
	return nil
}

// fill makes a database of so many messages, a second apart. They are written past Daybook, which takes seconds instead of minutes.
func (b *bench) fill(ctx context.Context, name string, messages int) error {
	db, err := b.create(ctx, name)
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err = db.ExecContext(ctx, `
		WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < $1)
		INSERT INTO messages (value, folded, recorded_at)
		SELECT 'The gate was open again, and I closed it: time ' || n, 'the gate was open again, and i closed it: time ' || n,
			strftime('%Y-%m-%d %H:%M:%f000+00:00', unixepoch() - $1 + n, 'unixepoch')
		FROM number`, messages); err != nil {
		return fmt.Errorf("fill a database: %w", err)
	}
	return nil
}

// create has a Daybook create a database, and opens that when Daybook has ended.
func (b *bench) create(ctx context.Context, name string) (*sql.DB, error) {
	if err := b.serve(ctx, b.ours(name)); err != nil {
		return nil, err
	}
	b.stop()
	return sql.Open("sqlite3", "file:"+b.path(name)+"?_journal_mode=OFF")
}
