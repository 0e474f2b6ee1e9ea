package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"time"

	"daybook/ent/schema"
)

// search is what somebody looks for, and how long it takes until the first page of it is there.
type search struct {
	kind, query string
	taken       time.Duration
}

// frequent is a search that fills its page with the newest messages.
var frequent = search{kind: "a frequent word", query: "the"}

// seldom are searches that have to read the whole book.
var seldom = []search{
	{kind: "a rare word", query: "heron"},
	{kind: "an absent word", query: "ostrich"},
	{kind: "two frequent words, never together", query: "the не"},
	{kind: "a rare character", query: "€"},
	{kind: "a rare word in the other case", query: "ЦАПЛЯ"},
}

// searching is what searches meet.
type searching struct {
	frequent, slowest search
}

// measureSearching measures GET /?q=.
func (b *bench) measureSearching(ctx context.Context) error {
	if err := b.fillVaried(ctx, "search.db", b.whole); err != nil {
		return err
	}
	server := b.ours("search.db")
	if err := b.serve(ctx, server); err != nil {
		return err
	}
	var err error
	if b.searching.frequent, err = b.measureSearch(frequent, server); err != nil {
		return err
	}
	for _, s := range seldom {
		if s, err = b.measureSearch(s, server); err != nil {
			return err
		}
		if s.taken > b.searching.slowest.taken {
			b.searching.slowest = s
		}
	}
	return nil
}

// measureSearch measures one search.
func (b *bench) measureSearch(s search, server *server) (search, error) {
	address := "http://" + server.address + "/?format=text&q=" + url.QueryEscape(s.query)
	var taken []time.Duration
	for range b.rounds {
		begin := time.Now()
		if _, err := fetch(address); err != nil {
			return search{}, server.explain(err)
		}
		taken = append(taken, time.Since(begin))
	}
	s.taken = median(taken, itself)
	fmt.Fprintf(b.progress, "search for %s: %s\n", s.kind, latency(s.taken))
	return s, nil
}

func itself(d time.Duration) time.Duration { return d }

// fillVaried makes a database of so many varied messages, as fill does of messages that are alike.
func (b *bench) fillVaried(ctx context.Context, name string, messages int) error {
	db, err := b.create(ctx, name)
	if err != nil {
		return err
	}
	defer db.Close()
	for values := range slices.Chunk(varied(messages), 10_000) {
		var rows [][2]string
		for _, value := range values {
			rows = append(rows, [2]string{value, schema.Fold(value)})
		}
		list, err := json.Marshal(rows)
		if err != nil {
			return err
		}
		if _, err := db.ExecContext(ctx, `
			INSERT INTO messages (value, folded, recorded_at)
			SELECT value ->> 0, value ->> 1, strftime('%Y-%m-%d %H:%M:%f000+00:00', unixepoch() - $1 + key, 'unixepoch')
			FROM json_each($2)`, messages, string(list)); err != nil {
			return fmt.Errorf("fill a database: %w", err)
		}
	}
	return nil
}
