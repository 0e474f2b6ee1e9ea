package handlers_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"daybook/database/databasetest"
)

// leave records a message in a transaction that has not ended: it has a number, and nobody else sees it.
func (b *book) leave(value string) (commit, rollback func()) {
	b.t.Helper()
	tx, err := b.client.Tx(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = tx.Rollback() })
	tx.Message.Create().SetValue(value).ExecX(b.t.Context())
	end := func(end func() error) func() {
		return func() {
			b.t.Helper()
			if err := end(); err != nil {
				b.t.Error(err)
			}
		}
	}
	return end(tx.Commit), end(tx.Rollback)
}

// inOrder are addresses after whose messages a client goes on: those must not be followed by one with a smaller number.
var inOrder = []string{"/?after=0", "/?after=1&limit=10", "/?all", "/?all&format=json", "/?all&after=1", "/?format=html", "/feed?after=0"}

// sendAll sends a request to each of the addresses at once, and returns the answers and how long each took.
func (b *book) sendAll(addresses []string) (answers []answer, took []time.Duration) {
	answers, took = make([]answer, len(addresses)), make([]time.Duration, len(addresses))
	var all sync.WaitGroup
	for i, address := range addresses {
		all.Go(func() {
			begun := time.Now()
			answers[i] = b.send("GET", address, "")
			took[i] = time.Since(begun)
		})
	}
	all.Wait()
	return answers, took
}

// TestNothingIsShownAfterAnOpenNumber has a transaction take a number and end after others with greater numbers.
func TestNothingIsShownAfterAnOpenNumber(t *testing.T) {
	postgresOnly(t)
	for _, committed := range []bool{true, false} {
		t.Run(fmt.Sprint("committed: ", committed), func(t *testing.T) {
			b := open(t)
			b.record("first")
			f := b.follow("?after=0")
			f.line()
			commit, rollback := b.leave("open")
			b.record("later")
			lines := make(chan string, 3)
			go func() {
				for range cap(lines) {
					line, err := f.lines.ReadString('\n')
					if err != nil {
						return
					}
					lines <- line
				}
			}()
			begun := time.Now()
			if got := b.send("GET", "/", ""); !strings.Contains(got.body, "\tfirst\n") || !strings.Contains(got.body, "\tlater\n") || time.Since(begun) > 900*time.Millisecond {
				t.Errorf("after %s, as text: %d %s", time.Since(begun), got.status, got.body)
			}
			answers, took := b.sendAll(inOrder)
			for i, got := range answers {
				if strings.Contains(got.body, "later") || strings.Contains(inOrder[i], "after=0") && !strings.Contains(got.body, "first") || got.status != 200 {
					t.Errorf("%s: %d %s", inOrder[i], got.status, got.body)
				}
				if took[i] < 900*time.Millisecond || took[i] > 5*time.Second {
					t.Errorf("%s takes %s", inOrder[i], took[i])
				}
			}
			if len(lines) > 0 {
				t.Errorf("a follower gets %q", <-lines)
			}

			end, want := rollback, []string{"later", "last"}
			if committed {
				end, want = commit, []string{"open", "later", "last"}
			}
			b.record("last")
			ended := time.AfterFunc(300*time.Millisecond, end)
			defer ended.Stop()
			answers, took = b.sendAll(inOrder)
			for i, got := range answers {
				place := 0
				for _, value := range want {
					at := strings.Index(got.body, value)
					backwards := strings.Contains(inOrder[i], "json") || strings.Contains(inOrder[i], "html") || strings.Contains(inOrder[i], "feed")
					if at < 0 || !backwards && at < place {
						t.Errorf("%s: %q is missing, or in another place, in %s", inOrder[i], value, got.body)
					}
					place = at
				}
				if took[i] > 900*time.Millisecond {
					t.Errorf("%s takes %s", inOrder[i], took[i])
				}
			}
			for _, value := range want {
				select {
				case line := <-lines:
					if !strings.HasSuffix(line, "\t"+value+"\n") {
						t.Errorf("a follower gets %q, want %q", line, value)
					}
				case <-time.After(10 * time.Second):
					t.Fatalf("a follower does not get %q", value)
				}
			}
		})
	}
}

// TestAnotherApplicationDelaysNothing has long transactions on the same server: of another application in the same database, which
// has locks, a snapshot and a number of its own, and of a Daybook in another database.
func TestAnotherApplicationDelaysNothing(t *testing.T) {
	postgresOnly(t)
	b, neighbour := open(t), open(t)
	b.record("first")
	neighbour.record("first")
	neighbour.leave("open")
	tx, err := b.connect().Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	for _, statement := range []string{
		"SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
		"SELECT count(*) FROM messages",
		"CREATE TABLE others (id bigserial PRIMARY KEY)",
		"INSERT INTO others DEFAULT VALUES",
		"SELECT pg_advisory_xact_lock(1), pg_advisory_xact_lock_shared(1, 1), pg_advisory_xact_lock('messages'::regclass::bigint)",
	} {
		if _, err := tx.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	f := b.follow("")
	b.record("second")
	answers, took := b.sendAll(inOrder)
	for i, got := range answers {
		if !strings.Contains(got.body, "second") || took[i] > 900*time.Millisecond {
			t.Errorf("%s, after %s: %d %s", inOrder[i], took[i], got.status, got.body)
		}
	}
	if line := f.line(); !strings.HasSuffix(line, "\tsecond") {
		t.Errorf("a follower gets %q", line)
	}
}

// TestSnapshotBeforeTheOrderIsSettled has another instance's transaction end, with a number before the newest message, when the first
// page has its snapshot. A browser follows after that page, so the page may not be without the message.
func TestSnapshotBeforeTheOrderIsSettled(t *testing.T) {
	postgresOnly(t)
	b := openAt(t, databasetest.New(t)+"&default_query_exec_mode=exec") // a statement that is prepared would wait before its transaction
	b.record("first")
	b.send("GET", "/?format=html", "") // so all is settled that this instance knows of
	commit, _ := b.leave("open")
	commitLater, _ := b.leave("later")
	commitLater()

	unlock, locked := func() error { return nil }, make(chan error)
	go func() { // readers wait for it, with their snapshots, and it waits for the open transaction
		tx, err := b.connect().Begin()
		if err == nil {
			unlock = tx.Rollback
			_, err = tx.Exec("LOCK TABLE messages")
		}
		locked <- err
	}()
	waits := func(n int) {
		t.Helper()
		const waiting = "SELECT count(*) FROM pg_locks WHERE relation = 'messages'::regclass AND NOT granted"
		for limit := time.Now().Add(10 * time.Second); b.number(waiting) != n; time.Sleep(time.Millisecond) {
			if time.Now().After(limit) {
				t.Fatalf("%d do not wait for the table", n)
			}
		}
	}
	waits(1)
	pages := make(chan answer)
	ask := func(address string) { pages <- b.send("GET", address, "") }
	go ask("/?format=html")
	waits(2)
	commit()
	if err := <-locked; err != nil {
		t.Fatal(err)
	}
	go ask("/?after=0") // with it, the order is settled
	waits(2)
	if err := unlock(); err != nil {
		t.Error(err)
	}
	for range 2 {
		if page := <-pages; page.status != 200 || !strings.Contains(page.body, "later") || !strings.Contains(page.body, "open") {
			t.Errorf("%d %s", page.status, page.body)
		}
	}
}
