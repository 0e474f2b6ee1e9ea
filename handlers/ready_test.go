package handlers_test

import (
	"bufio"
	"database/sql"
	"io"
	"net/http"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"daybook/database/databasetest"
	"daybook/ent"
	"daybook/handlers"
)

// askReady asks whether the book is ready, several times, and checks each answer.
func (b *book) askReady(ready bool) {
	b.t.Helper()
	for range 5 {
		got := b.send("GET", "/readyz", "")
		if ready && (got.status != http.StatusOK || got.body != "ready\n") {
			b.t.Errorf("answered %d %q", got.status, got.body)
		}
		sorry := got.status == http.StatusServiceUnavailable && got.header.Get("Retry-After") == "1" &&
			got.body == "The database cannot be reached.\n"
		if !ready && !sorry {
			b.t.Errorf("answered %d, Retry-After %q: %q", got.status, got.header.Get("Retry-After"), got.body)
		}
	}
}

// TestReadyWhileTheDatabaseCanBeReached takes it away, and brings it back: the file of SQLite, before a message is recorded, or the
// server of PostgreSQL. The log tells the cause once, and who asks is told nothing of it.
func TestReadyWhileTheDatabaseCanBeReached(t *testing.T) {
	url := databasetest.New(t)
	take, bring := func() error { return os.Rename(url, url+".away") }, func() error { return os.Rename(url+".away", url) }
	if databasetest.Postgres() {
		server := databasetest.Start(t, "fsync=off")
		url, bring = server.URL("postgres"), server.Begin
		take = func() error { server.End(syscall.SIGINT); return nil }
	}
	b := openWith(t, url, handlers.Access{Token: token, Private: true})
	b.askReady(true)
	if err := take(); err != nil {
		t.Fatal(err)
	}
	b.askReady(false)
	if got := b.send("GET", "/readyz", "", "Accept", "application/json"); !strings.HasPrefix(got.body, `{"title":"Service Unavailable","status":503,`) {
		t.Errorf("as JSON: %s", got.body)
	}
	if err := bring(); err != nil {
		t.Fatal(err)
	}
	b.askReady(true)
	for what, want := range map[string]int{`msg="the database cannot be reached" error=`: 1, `msg="the database can be reached again"`: 1, "level=ERROR": 1} {
		if got := strings.Count(b.log.String(), what); got != want {
			t.Errorf("the log has %s %d times, want %d:\n%s", what, got, want, b.log)
		}
	}
}

// TestIdleServerSaysThatItsFileIsGone takes the file away from a server that is asked for nothing, and brings it back.
func TestIdleServerSaysThatItsFileIsGone(t *testing.T) {
	databasetest.SQLiteOnly(t)
	path := databasetest.New(t)
	b := openAt(t, path)
	for _, step := range []struct{ from, to, logged string }{
		{path, path + ".away", `msg="the database cannot be reached" error="the database's file was deleted, renamed or replaced`},
		{path + ".away", path, `msg="the database can be reached again"`},
	} {
		if err := os.Rename(step.from, step.to); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		for !strings.Contains(b.log.String(), step.logged) {
			if time.Since(begun) > 5*time.Second { // it takes a second on a machine that does nothing else
				t.Fatalf("the log has no %s:\n%s", step.logged, b.log)
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Logf("after %s: %s", time.Since(begun).Round(10*time.Millisecond), step.logged)
	}
}

// TestNotReadyFromTheBeginOfAShutdown has a shutdown begin while it waits for the database: net/http reads no request after that.
func TestNotReadyFromTheBeginOfAShutdown(t *testing.T) {
	inABubble(t, func(t *testing.T, b *bubble) {
		var readers []*ent.Tx // all that there can be
		for range max(16, 2*runtime.NumCPU()) {
			tx, err := b.client.BeginTx(t.Context(), &sql.TxOptions{ReadOnly: true})
			if err != nil {
				t.Fatal(err)
			}
			tx.Message.Query().CountX(t.Context())
			readers = append(readers, tx)
		}
		conn := b.say("GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
		synctest.Wait()
		down := b.shutDown()
		for _, tx := range readers {
			if err := tx.Rollback(); err != nil {
				t.Error(err)
			}
		}
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != http.StatusServiceUnavailable || string(body) != "The server is shutting down.\n" {
			t.Errorf("answered %d %q %v", response.StatusCode, body, err)
		}
		down()
	})
}
