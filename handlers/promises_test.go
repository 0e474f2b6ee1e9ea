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

	"daybook/database/databasetest"
)

// TestToldMeansKept reads one byte of each 201, and looks at once whether another connection sees the message.
func TestToldMeansKept(t *testing.T) {
	b := open(t)
	other := b.connect()
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
		if err := other.QueryRow("SELECT count(*) FROM messages WHERE value = $1", value).Scan(&visible); err != nil {
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

// onInsert adds a trigger: after a message that meets the condition is inserted, it runs the statement, which ends in a semicolon.
func (b *book) onInsert(condition, statement string) {
	b.t.Helper()
	if !databasetest.Postgres() {
		b.exec("CREATE TRIGGER on_insert AFTER INSERT ON messages WHEN " + condition + " BEGIN " + statement + " END")
		return
	}
	b.exec("CREATE FUNCTION on_insert() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF " + condition + " THEN " + statement +
		" END IF; RETURN NULL; END $$")
	b.exec("CREATE TRIGGER on_insert AFTER INSERT ON messages FOR EACH ROW EXECUTE FUNCTION on_insert()")
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
	b.exec("CREATE TABLE child (message BIGINT REFERENCES messages (id) DEFERRABLE INITIALLY DEFERRED)")
	b.onInsert("new.value = 'doomed'", "INSERT INTO child VALUES (-1);")
	for accept, want := range map[string]string{
		"text/plain":       "Something went wrong here, and nothing was changed. The server's log has the details under ",
		"application/json": `{"title":"Internal Server Error","status":500,"detail":"Something went wrong`,
		browser:            "\ndoomed</textarea>", // what was typed is not lost
	} {
		got := b.send("POST", "/record", "doomed", "Content-Type", "text/plain", "Accept", accept)
		if got.status != 500 || !strings.Contains(got.body, want) || !strings.Contains(got.body, got.header.Get("X-Request-Id")) {
			t.Errorf("answered %d\n%s\nwant %q", got.status, got.body, want)
		}
		if strings.Contains(strings.ToLower(got.body), "foreign key") || got.header.Get("Location") != "" || len(got.header["Set-Cookie"]) != 0 {
			t.Errorf("too much was told: %v %s", got.header, got.body)
		}
		if log := b.log.String(); !strings.Contains(strings.ToLower(log), "foreign key") || !strings.Contains(log, got.header.Get("X-Request-Id")) {
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
	const postgresFull = "RAISE 'could not extend file: No space left on device' USING ERRCODE = 'disk_full';"
	if databasetest.Postgres() {
		b.onInsert("(SELECT count(*) FROM messages) > 5", postgresFull)
	} else {
		b.exec("PRAGMA max_page_count = 8")
	}
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
	b.exec(either("PRAGMA max_page_count = 1000000", "DROP TRIGGER on_insert ON messages"))
	b.record("again")
	if got := b.values(); len(got) != before+1 {
		t.Errorf("%d messages, want %d", len(got), before+1)
	}
}

func TestReadOnlyDatabase(t *testing.T) {
	b := open(t)
	if databasetest.Postgres() {
		b = openAt(t, b.at+"&default_transaction_read_only=on")
	} else {
		b.exec("PRAGMA query_only = ON")
	}
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
	b.exec(either(`
		PRAGMA writable_schema = ON;
		UPDATE sqlite_schema SET rootpage = 99 WHERE name = 'messages';
		PRAGMA schema_version = 99`, // so that the readers look at it anew
		`
		CREATE FUNCTION damaged() RETURNS boolean LANGUAGE plpgsql AS
			$$ BEGIN RAISE 'invalid page in block 0' USING ERRCODE = 'data_corrupted'; END $$;
		ALTER TABLE messages RENAME TO pages;
		CREATE VIEW messages AS SELECT * FROM pages WHERE damaged();
		INSERT INTO pages (value, recorded_at) VALUES ('lost', now())`))
	got := b.send("GET", "/", "")
	if got.status != http.StatusInternalServerError || !strings.Contains(got.body, "damaged") {
		t.Errorf("answered %d %s", got.status, got.body)
	}
}

// openImpatient opens a book that waits for another process's lock for 50 ms.
func openImpatient(t *testing.T) *book {
	t.Helper()
	if databasetest.Postgres() {
		return openAt(t, databasetest.New(t)+"&lock_timeout=50")
	}
	b := open(t)
	b.exec("PRAGMA busy_timeout = 50")
	return b
}

// connect connects to the database as another program does.
func (b *book) connect() *sql.DB {
	b.t.Helper()
	other, err := sql.Open(either(sqliteName(), "pgx"), b.at+either("?_txlock=immediate", ""))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { other.Close() })
	return other
}

// lock lets nobody else record, as another process, until unlock is called.
func (b *book) lock() (unlock func()) {
	b.t.Helper()
	tx, err := b.connect().Begin()
	if err == nil && databasetest.Postgres() {
		_, err = tx.Exec("LOCK TABLE messages IN EXCLUSIVE MODE")
	}
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
	b := openImpatient(t)
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
	databasetest.SQLiteOnly(t)
	for _, lost := range []string{"", "-wal"} {
		b := open(t)
		b.record("before")
		if err := os.Remove(b.at + lost); err != nil {
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
