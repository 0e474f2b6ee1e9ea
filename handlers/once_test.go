package handlers_test

import (
	"net/url"
	"strings"
	"sync"
	"testing"

	"daybook/database/databasetest"
)

func TestSameKeyRecordsOnce(t *testing.T) {
	b := open(t)
	b.record("before")
	first := b.send("POST", "/record", "hello", "Idempotency-Key", "k1")
	b.record("between")
	again := b.send("POST", "/record", "hello", "Idempotency-Key", "k1")
	if first.status != 201 || again.status != 201 || first.body != again.body || first.header.Get("Location") != again.header.Get("Location") {
		t.Errorf("first %d %q %q, again %d %q %q", first.status, first.header.Get("Location"), first.body,
			again.status, again.header.Get("Location"), again.body)
	}
	asJSON := b.send("POST", "/record", `{"msg":"hello"}`, "Content-Type", "application/json", "Accept", "application/json", "Idempotency-Key", "k1")
	if asJSON.status != 201 || !strings.HasPrefix(asJSON.body, `{"id":2,"value":"hello"`) {
		t.Errorf("as JSON: %d %s", asJSON.status, asJSON.body)
	}
	if got := b.send("GET", "/record?msg=hello", "", "Idempotency-Key", "k1"); got.status != 201 || got.body != first.body {
		t.Errorf("by address: %d %s", got.status, got.body)
	}
	if got := b.send("POST", "/record", "other", "Idempotency-Key", "k1"); got.status != 422 || !strings.Contains(got.body, "same key") {
		t.Errorf("another message: %d %s", got.status, got.body)
	}
	if got := b.send("POST", "/record", "hello", "Idempotency-Key", "k2"); got.status != 201 {
		t.Errorf("another key: %d %s", got.status, got.body)
	}
	if got := strings.Join(b.values(), " "); got != "before hello between hello" {
		t.Errorf("the book holds %s", got)
	}
}

func TestFormRecordsOnce(t *testing.T) {
	b := open(t)
	key := func(page string) string {
		_, after, _ := strings.Cut(page, `name="key" value="`)
		key, _, _ := strings.Cut(after, `"`)
		if key == "" {
			t.Fatalf("the form has no key: %s", page)
		}
		return key
	}
	page := b.send("GET", "/", "", "Accept", browser).body
	send := func(key, msg string) answer {
		return b.send("POST", "/record", url.Values{"msg": {msg}, "key": {key}}.Encode(),
			"Content-Type", "application/x-www-form-urlencoded", "Accept", browser)
	}
	for range 2 {
		if got := send(key(page), "hello\r\nworld"); got.status != 303 {
			t.Errorf("%d %s", got.status, got.body)
		}
	}
	multipart := "--x\r\nContent-Disposition: form-data; name=\"msg\"\r\n\r\nhello\r\nworld\r\n" +
		"--x\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\n" + key(page) + "\r\n--x--\r\n"
	if got := b.send("POST", "/record", multipart, "Content-Type", "multipart/form-data; boundary=x"); got.status != 201 {
		t.Errorf("multipart: %d %s", got.status, got.body)
	}
	refused := send(key(page), "another")
	if refused.status != 422 || !strings.Contains(refused.body, ">\nanother</textarea>") || key(refused.body) == key(page) {
		t.Errorf("another message: %d %s", refused.status, refused.body)
	}
	if again := send(key(page), "another"); key(again.body) == key(refused.body) {
		t.Error("two pages that came back have the same key")
	}
	if got := send(key(refused.body), "another"); got.status != 303 {
		t.Errorf("sent again from the page that came back: %d", got.status)
	}
	if got := b.values(); len(got) != 2 {
		t.Errorf("the book holds %q", got)
	}
	if other := b.send("GET", "/", "", "Accept", browser).body; key(other) == key(page) {
		t.Error("two pages have the same key")
	}
}

// TestSameKeyAtTheSameMoment sends each of many keys several times at once, with one message or with two.
func TestSameKeyAtTheSameMoment(t *testing.T) {
	b := open(t)
	const keys, times = 50, 8
	var all sync.WaitGroup
	var mu sync.Mutex
	answers := map[string]map[string]int{}
	for k := range keys {
		answers[strings.Repeat("k", k+1)] = map[string]int{}
	}
	for k := range keys {
		key := strings.Repeat("k", k+1)
		for i := range times {
			all.Go(func() {
				value := "same"
				if k%2 == 1 && i%2 == 1 {
					value = "other"
				}
				got := b.send("POST", "/record", value, "Idempotency-Key", key)
				mu.Lock()
				defer mu.Unlock()
				answers[key][got.header.Get("Location")]++
			})
		}
	}
	all.Wait()
	if got := len(b.values()); got != keys {
		t.Errorf("%d messages of %d keys", got, keys)
	}
	for key, got := range answers {
		refused := times / 2 * (1 - len(key)%2)
		if got[""] != refused || len(got) > 2 {
			t.Errorf("key %d: %v, want %d refused and one location", len(key), got, refused)
		}
	}
}

func TestKeyIsRememberedAfterARestart(t *testing.T) {
	database := databasetest.New(t)
	first := openAt(t, database).send("POST", "/record", "hello", "Idempotency-Key", "k")
	b := openAt(t, database)
	if got := b.send("POST", "/record", "hello", "Idempotency-Key", "k"); got.status != 201 || got.header.Get("Location") != first.header.Get("Location") {
		t.Errorf("%d %v", got.status, got.header)
	}
	b.exec("DELETE FROM messages")
	if got := b.send("POST", "/record", "another", "Idempotency-Key", "k"); got.status != 201 {
		t.Errorf("the key of a message that is no more: %d %s", got.status, got.body)
	}
}

func TestKeyThatIsNone(t *testing.T) {
	b := open(t)
	for _, key := range []string{strings.Repeat("x", 256), "\xff"} {
		if got := b.send("POST", "/record", "hello", "Idempotency-Key", key); got.status != 400 {
			t.Errorf("%.10q: %d %s", key, got.status, got.body)
		}
	}
	if got := b.send("POST", "/record", "msg=hello&key=a%00b", "Content-Type", "application/x-www-form-urlencoded"); got.status != 400 {
		t.Errorf("NUL: %d %s", got.status, got.body)
	}
	if got := b.send("POST", "/record", "hello", "Idempotency-Key", strings.Repeat("x", 255)); got.status != 201 {
		t.Errorf("the longest key: %d %s", got.status, got.body)
	}
	if got := b.values(); len(got) != 1 {
		t.Errorf("the book holds %q", got)
	}
}
