package live_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	"go.uber.org/goleak"

	"daybook/database"
	"daybook/database/databasetest"
	"daybook/ent"
	"daybook/ent/message"
	"daybook/ent/migrations"
	_ "daybook/ent/runtime" // the hooks of the schema
	"daybook/live"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

func TestOnPostgreSQL(t *testing.T) { databasetest.OnPostgreSQL(t) }

// book is a database with a hub.
type book struct {
	t      *testing.T
	driver dialect.Driver
	client *ent.Client
	hub    *live.Hub
	log    strings.Builder
}

func open(t *testing.T) *book {
	t.Helper()
	return openAt(t, databasetest.New(t))
}

func openAt(t *testing.T, url string) *book {
	t.Helper()
	driver, err := database.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	client := ent.NewClient(ent.Driver(driver))
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := database.Migrate(t.Context(), driver, migrations.Files, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	b := &book{t: t, driver: driver, client: client}
	source := live.Source{NewestID: b.newestID, After: b.after, Removes: b.removes, Listen: b.listen, Announce: b.announce}
	b.hub = live.New(t.Context(), source, slog.New(slog.NewTextHandler(&b.log, nil)))
	return b
}

// newestID returns the ID of the newest message, or on PostgreSQL, where numbers are committed in any order, one up to which no
// message can appear any more.
func (b *book) newestID(ctx context.Context) (int, error) {
	if databasetest.Postgres() {
		rows, err := b.client.QueryContext(ctx, "SELECT settled_message_id(-1)")
		if err != nil {
			return 0, err
		}
		defer rows.Close()
		return entsql.ScanInt(rows)
	}
	id, err := b.client.Message.Query().Order(ent.Desc(message.FieldID)).FirstID(ctx)
	return id, ent.MaskNotFound(err)
}

func (b *book) listen(ctx context.Context, changed func()) error {
	return database.Listen(ctx, b.driver, "messages", changed)
}

func (b *book) announce(ctx context.Context) error { return database.Notify(ctx, b.driver, "messages") }

func (b *book) after(ctx context.Context, id, upTo int) ([]*ent.Message, error) {
	return b.client.Message.Query().Where(message.IDGT(id), message.IDLTE(upTo)).Order(ent.Asc(message.FieldID)).Limit(100).All(ctx)
}

func (b *book) removes(ctx context.Context, id, upTo int) (bool, error) {
	return b.client.Message.Query().Where(message.IDGT(id), message.IDLTE(upTo), message.RemovesNotNil()).Exist(ctx)
}

// remove removes a message, and does not notify the hub.
func (b *book) remove(id int) {
	b.t.Helper()
	b.client.Message.DeleteOneID(id).ExecX(b.t.Context())
	b.client.Message.Create().SetValue("a removal").SetRemoves(id).ExecX(b.t.Context())
}

// record records messages, and does not notify the hub.
func (b *book) record(values ...string) {
	b.t.Helper()
	for some := range slices.Chunk(values, 1000) {
		b.client.Message.MapCreateBulk(some, func(create *ent.MessageCreate, i int) {
			create.SetValue(some[i])
		}).ExecX(b.t.Context())
	}
}

func (b *book) exec(statement string) {
	b.t.Helper()
	if err := b.driver.Exec(b.t.Context(), statement, []any{}, nil); err != nil {
		b.t.Fatal(err)
	}
}

// lines has a line for each message, and none for a removal.
var lines = live.Encoder{Format: "lines", Append: func(dst []byte, m *ent.Message) []byte {
	if m.Removes != nil {
		return dst
	}
	return fmt.Appendf(dst, "%d %s\n", m.ID, m.Value)
}}

// line is one of them.
type line struct {
	ID    int
	Value string
}

// subscribe subscribes to what comes after a message, or is recorded from now on if there is none named.
func (b *book) subscribe(after ...int) *live.Subscriber {
	b.t.Helper()
	s, err := b.hub.Subscribe(b.t.Context(), append(after, live.Now)[0], lines)
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

// next returns the next messages, when there are some.
func (b *book) next(s *live.Subscriber) (next []line) {
	b.t.Helper()
	for text := range strings.Lines(string(b.encoded(s))) {
		id, value, _ := strings.Cut(strings.TrimSuffix(text, "\n"), " ")
		n, err := strconv.Atoi(id)
		if err != nil {
			b.t.Fatal(err)
		}
		next = append(next, line{n, value})
	}
	return next
}

func (b *book) encoded(s *live.Subscriber) []byte {
	b.t.Helper()
	for {
		next, changed, err := s.Next(b.t.Context())
		if err != nil {
			b.t.Fatal(err)
		}
		if len(next) > 0 {
			return next
		}
		<-changed
	}
}

// expect expects the messages with the IDs from first to last, in order.
func (b *book) expect(s *live.Subscriber, first, last int) {
	b.t.Helper()
	for id := first; id <= last; {
		for _, m := range b.next(s) {
			if m.ID != id {
				b.t.Fatalf("message %d comes where %d should", m.ID, id)
			}
			id++
		}
	}
}

func TestSubscribersGetWhatIsRecorded(t *testing.T) {
	b := open(t)
	b.record("before")
	one, two := b.subscribe(), b.subscribe()
	defer one.Close()
	defer two.Close()
	b.record("hello")
	b.hub.Notify()
	first, second := b.next(one), b.next(two)
	if len(first) != 1 || first[0].ID != 2 || first[0].Value != "hello" {
		t.Errorf("the first one gets %v", first)
	}
	if !slices.Equal(first, second) {
		t.Errorf("the second one gets %v, the first one got %v", second, first)
	}
}

// TestSubscriberMissesNothing subscribes at each place.
func TestSubscriberMissesNothing(t *testing.T) {
	b := open(t)
	b.record(slices.Repeat([]string{"x"}, 500)...)
	first := b.subscribe()
	defer first.Close()
	b.record(slices.Repeat([]string{"x"}, 1200)...)
	b.hub.Notify()
	b.expect(first, 501, 1700)
	for _, last := range []int{0, 1, 250, 499, 500, 501, 690, 701, 1000, 1699} {
		s := b.subscribe(last)
		b.expect(s, last+1, 1700)
		s.Close()
	}
}

// withoutWaiting calls test in a bubble, in which nobody waits for the time to pass. That is not possible on PostgreSQL.
func withoutWaiting(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	if databasetest.Postgres() {
		test(t)
		return
	}
	synctest.Test(t, test)
}

// TestSubscriberThatComesBackAtOnce has the only subscriber leave while the hub looks for messages, and come back: that a message was
// recorded is not said to the one that leaves.
func TestSubscriberThatComesBackAtOnce(t *testing.T) {
	withoutWaiting(t, func(t *testing.T) {
		b := open(t)
		for i := range 100 {
			b.subscribe().Close()
			s, begun := b.subscribe(), time.Now()
			b.record(fmt.Sprint(i))
			b.hub.Notify()
			b.expect(s, i+1, i+1)
			if took := time.Since(begun); took > 500*time.Millisecond {
				t.Fatalf("round %d: the message comes after %s", i, took)
			}
			s.Close()
		}
	})
}

// TestMessageOfAnotherProcess has nobody who notifies the hub.
func TestMessageOfAnotherProcess(t *testing.T) {
	withoutWaiting(t, func(t *testing.T) {
		b := open(t)
		s := b.subscribe()
		defer s.Close()
		limit := 5 * time.Second
		if !databasetest.Postgres() {
			synctest.Wait()
			limit = 1100 * time.Millisecond
		}
		begun := time.Now()
		b.record("elsewhere")
		b.expect(s, 1, 1)
		if took := time.Since(begun); took > limit {
			t.Errorf("it comes after %s", took)
		}
	})
}

// TestNobodyReadsWithoutSubscribers looks at once after the last one has left.
func TestNobodyReadsWithoutSubscribers(t *testing.T) {
	b := open(t)
	one, two := b.subscribe(), b.subscribe()
	one.Close()
	for begun := time.Now(); !polls(); time.Sleep(time.Millisecond) { // its goroutine may not have run yet
		if time.Since(begun) > 5*time.Second {
			t.Fatal("nobody looks for messages, and there is a subscriber")
		}
	}
	two.Close()
	if polls() {
		t.Error("somebody looks for messages, and there is no subscriber")
	}
}

// polls reports whether a goroutine looks for messages.
func polls() bool {
	return bytes.Contains(goroutines(), []byte("(*Hub).poll"))
}

// TestSubscribersShareWhatTheyRead has two that read the same place in the book.
func TestSubscribersShareWhatTheyRead(t *testing.T) {
	b := open(t)
	b.record(slices.Repeat([]string{"x"}, 300)...)
	one, two := b.subscribe(0), b.subscribe(0)
	defer one.Close()
	defer two.Close()
	for range 2 {
		if first, second := b.encoded(one), b.encoded(two); &first[0] != &second[0] {
			t.Errorf("one has %q, the other one %q", first, second)
		}
	}
}

// TestMessagesAreEncodedOnce has many who want the same formats at the same time.
func TestMessagesAreEncodedOnce(t *testing.T) {
	b := open(t)
	b.record(strings.Repeat("x", 100_000))
	var encoded atomic.Int32
	format := func(name string, change func(string) string) live.Encoder {
		return live.Encoder{Format: name, Append: func(dst []byte, m *ent.Message) []byte {
			encoded.Add(1)
			return append(dst, change(m.Value)...)
		}}
	}
	var all sync.WaitGroup
	for name, change := range map[string]func(string) string{"lower": strings.ToLower, "upper": strings.ToUpper} {
		first, err := b.hub.Subscribe(t.Context(), 0, format(name, change))
		if err != nil {
			t.Fatal(err)
		}
		defer first.Close()
		b.encoded(first) // and holds it, so that nobody reads it again
		for range 50 {
			all.Go(func() {
				s, err := b.hub.Subscribe(t.Context(), 0, format(name, change))
				if err != nil {
					t.Error(err)
					return
				}
				defer s.Close()
				if got := b.encoded(s); got[0] != change("x")[0] {
					t.Errorf("%s: %q", name, got[0])
				}
			})
		}
	}
	all.Wait()
	if n := encoded.Load(); n != 2 {
		t.Errorf("it was encoded %d times", n)
	}
}

// TestReadingTheWholeBookKeepsNothing reads 50 MB.
func TestReadingTheWholeBookKeepsNothing(t *testing.T) {
	b := open(t)
	for range 50 {
		b.record(slices.Repeat([]string{strings.Repeat("x", 50_000)}, 20)...)
	}
	before := inUse() // the connections keep the memory that recording took
	s := b.subscribe(0)
	defer s.Close()
	b.expect(s, 1, 1000)
	if kept := inUse() - before; kept > 18<<20 {
		t.Errorf("%d MiB are in memory", kept>>20)
	}
}

// inUse returns how many bytes are in use.
func inUse() int {
	runtime.GC()
	runtime.GC() // what is pooled outlives the first one
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	return int(memory.HeapAlloc)
}

// TestSubscribersComeAndGo has many that stay for a few messages, while they are recorded.
func TestSubscribersComeAndGo(t *testing.T) {
	b := open(t)
	const messages = 300
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			for last := 0; last < messages; {
				s := b.subscribe(last)
				for range i + 1 {
					if last == messages {
						break
					}
					batch := b.next(s)
					for _, m := range batch {
						if last++; m.ID != last {
							t.Errorf("message %d comes where %d should", m.ID, last)
						}
					}
				}
				s.Close()
			}
		})
	}
	for range messages {
		b.record("x")
		b.hub.Notify()
	}
	all.Wait()
	if polls() {
		t.Error("somebody looks for messages, and there is no subscriber")
	}
}

// TestDatabaseThatFailsForAWhile takes the table away, and brings it back.
func TestDatabaseThatFailsForAWhile(t *testing.T) {
	withoutWaiting(t, func(t *testing.T) {
		b := open(t)
		s := b.subscribe()
		b.exec("ALTER TABLE messages RENAME TO away")
		time.Sleep(2 * time.Second)
		b.exec("ALTER TABLE away RENAME TO messages")
		b.record("again")
		b.expect(s, 1, 1)
		s.Close()
		if !strings.Contains(b.log.String(), "no such table") && !strings.Contains(b.log.String(), `"messages\" does not exist`) {
			t.Errorf("the log does not have the cause:\n%s", &b.log)
		}
	})
}

// TestSubscribingThatFails has a client that has left already.
func TestSubscribingThatFails(t *testing.T) {
	b := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.hub.Subscribe(ctx, live.Now, lines); err == nil {
		t.Error("it does not fail")
	}
	s := b.subscribe()
	defer s.Close()
	b.record("hello")
	b.hub.Notify()
	b.expect(s, 1, 1)
}

// TestSubscriberGoesOnAfterRemovals has more removals in a row than are read at a time, before and between messages.
func TestSubscriberGoesOnAfterRemovals(t *testing.T) {
	b := open(t)
	b.record(slices.Repeat([]string{"x"}, 250)...)
	for id := range 250 {
		b.remove(id + 1)
	}
	b.record("after 250 removals")
	b.remove(501)
	b.record("last")
	for _, after := range []int{0, 250, 251, 400} {
		s := b.subscribe(after)
		b.expect(s, 503, 503)
		s.Close()
	}
}

// TestRemovedMessageIsNotShared has a subscriber hold the message that another process removes, or this one. Those that come to the
// same place later do not get it: when the hub has seen the removal, at once if it was told, and also if it did not look meanwhile.
func TestRemovedMessageIsNotShared(t *testing.T) {
	for name, learn := range map[string]func(b *book, holder *live.Subscriber){
		"by another process": func(b *book, holder *live.Subscriber) { b.expect(holder, 3, 3) },
		"by this process":    func(b *book, _ *live.Subscriber) { b.hub.Forget() },
		"while nobody looks": func(_ *book, holder *live.Subscriber) { holder.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t)
			b.record("one")
			holder := b.subscribe(0)
			b.expect(holder, 1, 1)
			b.remove(1)
			b.record("three")
			learn(b, holder)
			late := b.subscribe(0)
			b.expect(late, 3, 3)
			late.Close()
			if name != "while nobody looks" {
				holder.Close()
			}
		})
	}
}

// TestSubscribersAreCountedWhileTheDatabaseIsSlow has a subscriber that waits for it.
func TestSubscribersAreCountedWhileTheDatabaseIsSlow(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	hub := live.New(t.Context(), live.Source{NewestID: func(context.Context) (int, error) {
		close(asked)
		<-answer
		return 0, context.Canceled
	}}, slog.New(slog.DiscardHandler))
	var subscribing sync.WaitGroup
	subscribing.Go(func() {
		if _, err := hub.Subscribe(t.Context(), live.Now, live.Encoder{}); err == nil {
			t.Error("subscribed without the database")
		}
	})
	<-asked
	counted := make(chan int, 1)
	subscribing.Go(func() { counted <- hub.Subscribers() })
	select {
	case n := <-counted:
		if n != 0 {
			t.Errorf("%d subscribers", n)
		}
	case <-time.After(10 * time.Second):
		t.Error("the count waits for the database")
	}
	close(answer)
	subscribing.Wait()
}
