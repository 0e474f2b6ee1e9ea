package handlers_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"daybook/database"
	"daybook/ent"
)

func TestAllMessages(t *testing.T) {
	b := open(t)
	if got := b.send("GET", "/?all&format=json", ""); got.body != `{"messages":[]}`+"\n" {
		t.Errorf("an empty book: %q", got.body)
	}
	b.fill(60)
	b.record("a \"quoted\" <b>\nline")
	text := b.send("GET", "/?all", "")
	if want := b.send("GET", "/?limit=1000", "").body; text.body != want || strings.Count(want, "\n") != 61 {
		t.Errorf("all as text differs from a page with all:\n%s\n%s", text.body, want)
	}
	var asJSON, page any
	for address, value := range map[string]*any{"/?all": &asJSON, "/?limit=1000": &page} {
		got := b.send("GET", address, "", "Accept", "application/json")
		if err := json.Unmarshal([]byte(got.body), value); err != nil {
			t.Fatalf("%s: %v", address, err)
		}
	}
	if fmt.Sprint(asJSON) != fmt.Sprint(page) {
		t.Errorf("all as JSON differs from a page with all:\n%v\n%v", asJSON, page)
	}
	if got := b.send("GET", "/?all&after=58", "").body; !strings.HasSuffix(text.body, got) || strings.Count(got, "\n") != 3 {
		t.Errorf("all after the 58th:\n%s", got)
	}
	ndjson := b.send("GET", "/?all&format=ndjson", "")
	if want := b.send("GET", "/?limit=1000&format=ndjson", "").body; ndjson.body != want {
		t.Errorf("all as NDJSON differs from a page with all:\n%s\n%s", ndjson.body, want)
	}
	lines := strings.Split(strings.TrimSuffix(ndjson.body, "\n"), "\n")
	for i, line := range lines {
		var m struct{ ID int }
		if err := json.Unmarshal([]byte(line), &m); err != nil || m.ID != i+1 {
			t.Errorf("line %d is %s: %v", i+1, line, err)
		}
	}
	if mediaType := ndjson.header.Get("Content-Type"); len(lines) != 61 || mediaType != "application/x-ndjson; charset=utf-8" {
		t.Errorf("%d lines of %s", len(lines), mediaType)
	}
	if got := b.send("GET", "/?all", "", "Accept", "text/html"); got.status != http.StatusNotAcceptable {
		t.Errorf("as a page it was answered %d", got.status)
	}
	if got := b.send("HEAD", "/?all", ""); got.status != 200 || got.header.Get("Content-Type") != text.header.Get("Content-Type") {
		t.Errorf("HEAD: %d %v", got.status, got.header)
	}
}

// TestAllMessagesEndWithTheNewest records while the book is being sent.
func TestAllMessagesEndWithTheNewest(t *testing.T) {
	b := open(t)
	const messages, size = 600, 10_000 // more than what is held back
	if err := b.client.Message.MapCreateBulk(make([]int, messages), func(create *ent.MessageCreate, i int) {
		create.SetValue(strings.Repeat("x", size))
	}).Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	response, err := http.Get(b.url + "/?all")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	b.record("meanwhile")
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(body), "\n"); n != messages || strings.Contains(string(body), "meanwhile") {
		t.Errorf("%d lines, want %d", n, messages)
	}
}

// TestSlowClientsLeaveRoomToRead has more clients than there are connections to the database ask for everything and read nothing.
func TestSlowClientsLeaveRoomToRead(t *testing.T) {
	b := open(t)
	if err := b.client.Message.MapCreateBulk(make([]int, 2000), func(create *ent.MessageCreate, i int) {
		create.SetValue(strings.Repeat("x", 10_000)) // more than lies between server and client
	}).Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	stats, err := database.Stats(t.Context(), b.driver)
	if err != nil {
		t.Fatal(err)
	}
	for range stats.MaxConnections + 8 {
		response, err := http.Get(b.url + "/?all")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Fatalf("answered %s", response.Status)
		}
	}
	if got := b.send("GET", "/", ""); got.status != 200 {
		t.Errorf("somebody else was answered %d %s", got.status, got.body)
	}
}

// TestAllMessagesThatFailHaveNoEnd has a row that cannot be read, after more than what is held back.
func TestAllMessagesThatFailHaveNoEnd(t *testing.T) {
	b := open(t)
	if err := b.client.Message.MapCreateBulk(make([]int, 300), func(create *ent.MessageCreate, i int) {
		create.SetValue(strings.Repeat("x", 10_000))
	}).Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.exec("UPDATE messages SET recorded_at = " + either("x'00'", "'infinity'") + " WHERE id = 1") // as JSON, the last one
	response, err := http.Get(b.url + "/?all&format=json")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err == nil || strings.HasSuffix(string(body), "]}\n") {
		t.Errorf("%d bytes arrived as if they were all: %v", len(body), err)
	}
}

// TestClientThatLeavesIsNoErrorInTheLog begins to read everything, and hangs up.
func TestClientThatLeavesIsNoErrorInTheLog(t *testing.T) {
	b := open(t)
	if err := b.client.Message.MapCreateBulk(make([]int, 2000), func(create *ent.MessageCreate, i int) {
		create.SetValue(strings.Repeat("x", 10_000))
	}).Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "GET /?all HTTP/1.1\r\nHost: %s\r\n\r\n", b.addr)
	if _, err := io.CopyN(io.Discard, conn, 100_000); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	b.log.waitFor(t, 1, "msg=request ")
	if log := b.log.String(); strings.Contains(log, "level=ERROR") {
		t.Errorf("the log has\n%s", log)
	}
}
