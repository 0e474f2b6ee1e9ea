package handlers_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"daybook/database/databasetest"
	"daybook/handlers"
)

// openKeeping opens the book in the database at url, and drops what is older than keep.
func openKeeping(t *testing.T, url string, keep time.Duration) *book {
	t.Helper()
	return openConfigured(t, url, handlers.Config{MaxMessage: maxMessage, Keep: keep})
}

// age makes the entries up to a number old.
func (b *book) age(upTo int) {
	b.t.Helper()
	b.exec(fmt.Sprintf("UPDATE messages SET recorded_at = '2020-01-02 03:04:05.123456+00:00' WHERE id <= %d", upTo))
}

// waitForEntries waits until the log has so many entries.
func (b *book) waitForEntries(n int) {
	b.t.Helper()
	for limit := time.Now().Add(10 * time.Second); b.number("SELECT count(*) FROM messages") != n; time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			b.t.Fatalf("there are %d entries, want %d", b.number("SELECT count(*) FROM messages"), n)
		}
	}
}

// TestOldMessagesAreDropped has two instances drop at the same time, in several transactions.
func TestOldMessagesAreDropped(t *testing.T) {
	b := openWithToken(t)
	b.fill(1000)
	b.remove(3)                                                    // entry 1001
	b.send("POST", "/record", "old", "Idempotency-Key", "old key") // 1002
	b.age(1002)
	b.send("POST", "/record", "new", "Idempotency-Key", "new key") // 1003
	b.record("newer")
	one, other := openKeeping(t, b.at, time.Hour), openKeeping(t, b.at, time.Hour)
	one.waitForEntries(2)
	for path, want := range map[string]string{
		"/?all":                   "1003 1004",
		"/?after=0":               "1003 1004",
		"/?before=1004":           "1003",
		"/?q=new":                 "1003 1004",
		"/?on=2020-01-02":         "",
		"/?after=0&limit=1":       "1003",
		"/?all&format=ndjson&q=o": "",
	} {
		var ids []string
		for line := range strings.Lines(other.send("GET", path, "").body) {
			id, _, _ := strings.Cut(line, "\t")
			ids = append(ids, id)
		}
		if got := strings.Join(ids, " "); got != want {
			t.Errorf("%s lists %q, want %q", path, got, want)
		}
	}
	if feed := one.send("GET", "/feed", "").body; strings.Count(feed, "<entry>") != 2 {
		t.Errorf("the feed has\n%s", feed)
	}
	for path, want := range map[string]int{"/messages/1": 404, "/messages/3": 404, "/messages/1003": 200} {
		if got := one.send("GET", path, "").status; got != want {
			t.Errorf("%s is answered %d, want %d", path, got, want)
		}
	}
	f := one.follow("?after=500")
	for _, want := range []string{"1003", "1004"} {
		if line := f.line(); !strings.HasPrefix(line, want+"\t") {
			t.Errorf("a follower at a dropped message gets %q, want %s", line, want)
		}
	}
	for key, want := range map[string]string{"new key": "/messages/1003", "old key": "/messages/1005"} {
		value, _, _ := strings.Cut(key, " ")
		if got := one.send("POST", "/record", value, "Idempotency-Key", key).header.Get("Location"); !strings.HasSuffix(want, got[strings.LastIndex(got, "/"):]) {
			t.Errorf("%s leads to %s, want %s", key, got, want)
		}
	}
	for _, keeper := range []*book{one, other} {
		if log := keeper.log.String(); strings.Contains(log, "level=ERROR") {
			t.Errorf("it logged\n%s", log)
		}
	}
}

// TestBookThatBecameEmpty has followers, and goes on.
func TestBookThatBecameEmpty(t *testing.T) {
	b := open(t)
	b.fill(5)
	b.age(5)
	keeper := openKeeping(t, b.at, time.Hour)
	keeper.waitForEntries(0)
	followers := []*follower{keeper.follow(""), keeper.follow("?after=5"), keeper.follow("?after=2")}
	if list := keeper.send("GET", "/", "").body; list != "" {
		t.Errorf("it lists %q", list)
	}
	keeper.record("goes on")
	for i, f := range followers {
		if line := f.line(); !strings.HasPrefix(line, "6\t") || !strings.HasSuffix(line, "\tgoes on") {
			t.Errorf("follower %d gets %q", i, line)
		}
	}
}

// TestDroppedMessageIsNotShared has a follower who has read it, so that it is in memory for those who come to the same place.
func TestDroppedMessageIsNotShared(t *testing.T) {
	b := openKeeping(t, databasetest.New(t), 2*time.Second)
	f := b.follow("?after=0")
	b.record("old")
	if line := f.line(); !strings.HasSuffix(line, "\told") {
		t.Fatalf("a follower gets %q", line)
	}
	b.waitForEntries(0)
	b.record("new")
	line := ""
	for range 50 { // it is forgotten just after it is dropped
		if line = b.follow("?after=0").line(); strings.HasSuffix(line, "\tnew") {
			return
		}
	}
	t.Errorf("another one gets %q", line)
}

// TestDroppingGoesOnAfterAnError cannot delete at first.
func TestDroppingGoesOnAfterAnError(t *testing.T) {
	b := openKeeping(t, databasetest.New(t), time.Second)
	b.exec(either("CREATE TRIGGER no BEFORE DELETE ON messages BEGIN SELECT RAISE(ABORT, 'not now'); END",
		`CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not now'; END $$;
		CREATE TRIGGER no BEFORE DELETE ON messages EXECUTE FUNCTION no()`))
	b.record("hello")
	b.log.waitFor(t, 2, "not now")
	if n := b.number("SELECT count(*) FROM messages"); n != 1 {
		t.Errorf("there are %d messages", n)
	}
	b.exec(either("DROP TRIGGER no", "DROP TRIGGER no ON messages"))
	b.waitForEntries(0)
}

// TestFileDoesNotGrow fills the space of what was dropped, again and again.
func TestFileDoesNotGrow(t *testing.T) {
	databasetest.SQLiteOnly(t)
	b := openKeeping(t, databasetest.New(t), 50*time.Millisecond)
	var pages []int
	for range 6 {
		b.fill(2000)
		b.age(1 << 30)
		b.waitForEntries(0)
		pages = append(pages, b.number("SELECT page_count FROM pragma_page_count"))
	}
	if first, last := pages[1], pages[len(pages)-1]; last > first*11/10 {
		t.Errorf("the file grows: %v pages", pages)
	}
}
