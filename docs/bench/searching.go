package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
)

// searching is what searches meet, and the index that they have.
type searching struct {
	Searches   []search
	Own, Index float64       // bytes of the file for each message: its own, and those of the index
	Made       time.Duration // from the start of a Daybook until it has made the index of all
}

// search is what somebody looks for, and how long it takes until the first page of it is there: from Daybook, and with LIKE.
type search struct {
	Kind, Query string
	Found       int // messages on the page
	Ours, Like  time.Duration
}

// searches is what is searched for. A page has 50 messages; what is rare is in ten.
var searches = []search{
	{Kind: "a rare word", Query: "heron"},
	{Kind: "an absent word", Query: "ostrich"},
	{Kind: "a frequent word", Query: "the"},
	{Kind: "two rare words", Query: "marmalade windmill"},
	{Kind: "two frequent words, never together", Query: "the не"},
	{Kind: "a rare character", Query: "€"},
	{Kind: "an absent character", Query: "☂"},
	{Kind: "two rare characters", Query: "白鷺"},
	{Kind: "two absent characters", Query: "鳳凰"},
	{Kind: "a rare word in the other case", Query: "ЦАПЛЯ"},
}

// slowest returns the search that takes Daybook longest.
func (s searching) slowest() (slowest search) {
	for _, search := range s.Searches {
		if search.Ours > slowest.Ours {
			slowest = search
		}
	}
	return slowest
}

// measureSearching measures GET /?q= beside the alternative that has no index: reading all messages with LIKE.
func (b *bench) measureSearching(ctx context.Context) error {
	if err := b.fillVaried(ctx, "search.db", b.whole); err != nil {
		return err
	}
	if err := b.measureIndex(ctx, "search.db", b.whole); err != nil {
		return err
	}
	server := b.ours("search.db")
	if err := b.serve(ctx, server); err != nil {
		return err
	}
	db, err := sql.Open("sqlite3", "file:"+b.path("search.db")+"?mode=ro")
	if err != nil {
		return err
	}
	defer db.Close()
	for _, s := range searches {
		if err := b.measureSearch(ctx, &s, server, db); err != nil {
			return err
		}
		fmt.Fprintf(b.progress, "search for %s: %d in %s, with LIKE in %s\n", s.Kind, s.Found, latency(s.Ours), latency(s.Like))
		b.searching.Searches = append(b.searching.Searches, s)
	}
	return nil
}

// measureSearch measures one search, in turns.
func (b *bench) measureSearch(ctx context.Context, s *search, server *server, db *sql.DB) error {
	address := "http://" + server.address + "/?format=text&q=" + url.QueryEscape(s.Query)
	var ours, like []time.Duration
	for range b.rounds {
		begin := time.Now()
		page, err := fetch(address)
		if err != nil {
			return server.explain(err)
		}
		ours = append(ours, time.Since(begin))
		s.Found = bytes.Count(page, []byte("\n"))
		begin = time.Now()
		if err := selectLike(ctx, db, s.Query); err != nil {
			return fmt.Errorf("search with LIKE: %w", err)
		}
		like = append(like, time.Since(begin))
	}
	s.Ours, s.Like = median(ours, itself), median(like, itself)
	return nil
}

func itself(d time.Duration) time.Duration { return d }

// selectLike reads as many messages as Daybook does for its first page, of those that contain the words.
func selectLike(ctx context.Context, db *sql.DB, query string) error {
	var conditions []string
	var patterns []any
	for word := range strings.FieldsSeq(query) {
		conditions = append(conditions, "value LIKE ?")
		patterns = append(patterns, "%"+word+"%")
	}
	rows, err := db.QueryContext(ctx, "SELECT id, value, recorded_at FROM messages WHERE "+strings.Join(conditions, " AND ")+
		" ORDER BY id DESC LIMIT 51", patterns...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id int
		var value string
		var at time.Time
		if err := rows.Scan(&id, &value, &at); err != nil {
			return err
		}
	}
	return rows.Err()
}

// measureIndex has a Daybook that finds a book without an index make it. It does so before it serves.
func (b *bench) measureIndex(ctx context.Context, name string, messages int) error {
	before, err := os.Stat(b.path(name))
	if err != nil {
		return err
	}
	begin := time.Now()
	server := b.ours(name)
	if err := b.serve(ctx, server); err != nil {
		return err
	}
	b.searching.Made = time.Since(begin)
	b.stop()
	b.indexing.made = server.processor() / time.Duration(messages)
	after, err := os.Stat(b.path(name))
	if err != nil {
		return err
	}
	s := &b.searching
	s.Own = float64(before.Size()) / float64(messages)
	s.Index = float64(after.Size()-before.Size()) / float64(messages)
	fmt.Fprintf(b.progress, "index: %.0f bytes a message beside %.0f, made in %s\n", s.Index, s.Own, latency(s.Made))
	return nil
}

// fillVaried makes a database of so many varied messages, as fill does of messages that are alike.
func (b *bench) fillVaried(ctx context.Context, name string, messages int) error {
	db, err := b.create(ctx, name)
	if err != nil {
		return err
	}
	defer db.Close()
	for values := range slices.Chunk(varied(messages), 10_000) {
		list, err := json.Marshal(values)
		if err != nil {
			return err
		}
		if _, err := db.ExecContext(ctx, `
			INSERT INTO messages (value, recorded_at)
			SELECT value, strftime('%Y-%m-%d %H:%M:%f000+00:00', unixepoch() - $1 + key, 'unixepoch')
			FROM json_each($2)`, messages, string(list)); err != nil {
			return fmt.Errorf("fill a database: %w", err)
		}
	}
	return nil
}
