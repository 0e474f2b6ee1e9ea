package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// indexing is what the index costs.
type indexing struct {
	with, without result        // of recording
	made          time.Duration // that making the index of a book keeps a processor busy, for each message
	recorded      time.Duration // that recording without one does
}

// measureIndexing measures POST /record with the index and without. Without it is a Daybook whose database says that more messages
// have been indexed than there will be.
func (b *bench) measureIndexing(ctx context.Context) error {
	db, err := b.create(ctx, "unindexed.db")
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, "INSERT INTO slices (id, bits) VALUES (1 << 50, x'')")
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	with, without := b.ours("indexed.db"), b.ours("unindexed.db")
	if err := b.serve(ctx, with, without); err != nil {
		return err
	}
	r, err := b.compare(ctx, "record, with the index and without", []load{post(with, b.many)}, []load{post(without, b.many)})
	if err != nil {
		return err
	}
	b.stop()
	messages, err := b.count(ctx, "unindexed.db")
	if err != nil {
		return err
	}
	i := &b.indexing
	i.with, i.without, i.recorded = r[0], r[1], without.processor()/time.Duration(messages)
	fmt.Fprintf(b.progress, "index: %s of processor for each message, and %s to record it\n", i.made, i.recorded)
	return nil
}

// count returns how many messages a database has.
func (b *bench) count(ctx context.Context, name string) (messages int, err error) {
	db, err := sql.Open("sqlite3", "file:"+b.path(name)+"?mode=ro")
	if err != nil {
		return 0, err
	}
	defer db.Close()
	err = db.QueryRowContext(ctx, "SELECT count(*) FROM messages").Scan(&messages)
	return messages, err
}
