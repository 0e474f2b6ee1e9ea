package handlers_test

import (
	"bufio"
	"database/sql"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestToldMeansKept reads one byte of each 201, and looks at once whether another connection sees the message.
func TestToldMeansKept(t *testing.T) {
	b := open(t)
	other, err := sql.Open(sqliteName(), b.path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	conn, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	for i := range 1000 {
		value := fmt.Sprint("message ", i)
		fmt.Fprintf(conn, "POST /record HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n%s", b.addr, len(value), value)
		if _, err := answers.Peek(1); err != nil {
			t.Fatal(err)
		}
		var visible int
		if err := other.QueryRow("SELECT count(*) FROM messages WHERE value = ?", value).Scan(&visible); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := response.Body.Close(); err != nil {
			t.Fatal(err)
		}
		if response.StatusCode != http.StatusCreated || visible != 1 {
			t.Fatalf("%q was answered %d and seen %d times", value, response.StatusCode, visible)
		}
	}
}

func TestManyRecordAtOnce(t *testing.T) {
	b := open(t)
	var clients sync.WaitGroup
	for client := range 16 {
		clients.Go(func() {
			for i := range 25 {
				b.record(fmt.Sprint(client, " ", i))
				if a := b.send("GET", "/", ""); a.status != http.StatusOK {
					t.Errorf("a reader was answered %d", a.status)
				}
			}
		})
	}
	clients.Wait()
	if got := len(b.values()); got != 16*25 {
		t.Errorf("%d messages of %d", got, 16*25)
	}
}

// TestFailedCommitTellsNobody makes COMMIT fail after the handler has succeeded.
func TestFailedCommitTellsNobody(t *testing.T) {
	b := open(t)
	b.exec("CREATE TABLE child (message INT REFERENCES messages (id) DEFERRABLE INITIALLY DEFERRED)")
	b.exec("CREATE TRIGGER orphan AFTER INSERT ON messages WHEN new.value = 'doomed' BEGIN INSERT INTO child VALUES (-1); END")
	for accept, want := range map[string]string{
		"text/plain":       "Something went wrong here, and nothing was changed. The server's log has the details under ",
		"application/json": `{"title":"Internal Server Error","status":500,"detail":"Something went wrong`,
		browser:            "\ndoomed</textarea>", // what was typed is not lost
	} {
		got := b.send("POST", "/record", "doomed", "Content-Type", "text/plain", "Accept", accept)
		if got.status != 500 || !strings.Contains(got.body, want) || !strings.Contains(got.body, got.header.Get("X-Request-Id")) {
			t.Errorf("answered %d\n%s\nwant %q", got.status, got.body, want)
		}
		if strings.Contains(got.body, "FOREIGN KEY") || got.header.Get("Location") != "" || len(got.header["Set-Cookie"]) != 0 {
			t.Errorf("too much was told: %v %s", got.header, got.body)
		}
		if log := b.log.String(); !strings.Contains(log, "FOREIGN KEY") || !strings.Contains(log, got.header.Get("X-Request-Id")) {
			t.Errorf("the log does not have the cause and the id:\n%s", log)
		}
	}
	b.record("next")
	if got := b.values(); len(got) != 1 || got[0] != "next" {
		t.Errorf("the book holds %q", got)
	}
}

func TestFullDiskTellsNobody(t *testing.T) {
	b := open(t)
	b.record("first")
	b.exec("PRAGMA max_page_count = 8")
	full := false
	for range 100 {
		got := b.send("POST", "/record", strings.Repeat("x", maxMessage), "Content-Type", "text/plain")
		if got.status == http.StatusCreated {
			continue
		}
		full = true
		if got.status != http.StatusInsufficientStorage || got.header.Get("Location") != "" {
			t.Fatalf("answered %d %s", got.status, got.body)
		}
	}
	if !full {
		t.Fatal("the disk was never full")
	}
	before := len(b.values())
	b.exec("PRAGMA max_page_count = 1000000")
	b.record("again")
	if got := b.values(); len(got) != before+1 {
		t.Errorf("%d messages, want %d", len(got), before+1)
	}
}

func TestReadOnlyDatabase(t *testing.T) {
	b := open(t)
	b.exec("PRAGMA query_only = ON")
	got := b.send("POST", "/record", "a", "Content-Type", "text/plain")
	if got.status != http.StatusInternalServerError || !strings.Contains(got.body, "is read-only") {
		t.Errorf("answered %d %s", got.status, got.body)
	}
	if log := b.log.String(); strings.Count(log, "level=ERROR") != 1 || strings.Count(log, "id="+got.header.Get("X-Request-Id")) != 2 {
		t.Errorf("the log should have one error, and the request, with its ID:\n%s", log)
	}
}

func TestDamagedDatabase(t *testing.T) {
	b := open(t)
	b.exec("PRAGMA writable_schema = ON")
	b.exec("UPDATE sqlite_schema SET rootpage = 99 WHERE name = 'messages'")
	b.exec("PRAGMA schema_version = 99") // so that the readers look at it anew
	got := b.send("GET", "/", "")
	if got.status != http.StatusInternalServerError || !strings.Contains(got.body, "damaged") {
		t.Errorf("answered %d %s", got.status, got.body)
	}
}

// lock holds the lock from another process's place, until unlock is called. Nobody waits for it for long.
func (b *book) lock() (unlock func()) {
	b.t.Helper()
	b.exec("PRAGMA busy_timeout = 50")
	other, err := sql.Open(sqliteName(), b.path+"?_txlock=immediate")
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { other.Close() })
	tx, err := other.Begin()
	if err != nil {
		b.t.Fatal(err)
	}
	return func() {
		b.t.Helper()
		if err := tx.Rollback(); err != nil {
			b.t.Fatal(err)
		}
	}
}

func TestBusyDatabase(t *testing.T) {
	b := open(t)
	unlock := b.lock()
	if got := b.send("POST", "/record", "a", "Content-Type", "text/plain"); got.status != 503 || got.header.Get("Retry-After") == "" {
		t.Errorf("answered %d, Retry-After %q: %s", got.status, got.header.Get("Retry-After"), got.body)
	}
	if got := b.send("GET", "/", ""); got.status != 200 {
		t.Errorf("a reader waited for the writer: %d %s", got.status, got.body)
	}
	unlock()
	b.record("a")
}

func TestClientThatHangsUpInItsBody(t *testing.T) {
	b := open(t)
	conn, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "POST /record HTTP/1.1\r\nHost: %s\r\nContent-Length: 20\r\n\r\nhalf of it", b.addr)
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	b.record("after")
	if got := b.values(); len(got) != 1 {
		t.Errorf("the book holds %q", got)
	}
}

// TestSlowBodyHoldsNobodyUp leaves a request half sent, and others record.
func TestSlowBodyHoldsNobodyUp(t *testing.T) {
	b := open(t)
	conn, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /record HTTP/1.1\r\nHost: %s\r\nContent-Length: 4\r\n\r\nsl", b.addr)
	b.record("fast")
	fmt.Fprint(conn, "ow")
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if got := strings.Join(b.values(), " "); response.StatusCode != 201 || got != "fast slow" {
		t.Errorf("answered %d, the book holds %q", response.StatusCode, got)
	}
}

// TestLostFileRecordsNothing deletes the file, or its log, while the server runs.
func TestLostFileRecordsNothing(t *testing.T) {
	for _, lost := range []string{"", "-wal"} {
		b := open(t)
		b.record("before")
		if err := os.Remove(b.path + lost); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if a := b.send("POST", "/record", "after"); a.status != http.StatusInternalServerError || !strings.Contains(a.body, "moved or replaced") {
				t.Errorf("answered %d %q", a.status, a.body)
			}
		}
		if a := b.send("GET", "/", ""); a.status != http.StatusOK {
			t.Errorf("a reader was answered %d", a.status)
		}
	}
}

// sqliteName returns the name under which database/sql has SQLite's driver.
func sqliteName() string {
	names := sql.Drivers()
	return names[slices.IndexFunc(names, func(name string) bool { return strings.HasPrefix(name, "sqlite") })]
}
