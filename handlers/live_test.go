package handlers_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"daybook/database"
	"daybook/ent"
	"daybook/ent/migrate"
	"daybook/ent/schema"
	"daybook/handlers"
)

// follower is a client that follows.
type follower struct {
	t      *testing.T
	answer *http.Response
	lines  *bufio.Reader
}

// follow opens a stream. The headers are pairs of name and value.
func (b *book) follow(query string, headers ...string) *follower {
	b.t.Helper()
	request, err := http.NewRequestWithContext(b.t.Context(), "GET", b.url+"/live"+query, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { response.Body.Close() })
	if response.StatusCode != 200 {
		b.t.Fatalf("following is answered %d", response.StatusCode)
	}
	return &follower{b.t, response, bufio.NewReader(response.Body)}
}

// line returns the next line, when it has come.
func (f *follower) line() string {
	f.t.Helper()
	line, err := f.lines.ReadString('\n')
	if err != nil {
		f.t.Fatalf("the stream has ended: %v", err)
	}
	return strings.TrimSuffix(line, "\n")
}

// event returns the next server-sent event, as a browser reads it.
func (f *follower) event() (id, data string) {
	f.t.Helper()
	for lines := []string(nil); ; {
		name, value, _ := strings.Cut(f.line(), ":")
		switch value = strings.TrimPrefix(value, " "); name {
		case "id":
			id = value
		case "data":
			lines = append(lines, value)
		case "":
			if len(lines) > 0 {
				return id, strings.Join(lines, "\n")
			}
		}
	}
}

func TestLive(t *testing.T) {
	b := open(t)
	b.record("before")
	text, ndjson := b.follow(""), b.follow("?format=ndjson")
	browser := b.follow("", "Accept", "text/event-stream")
	for f, mediaType := range map[*follower]string{text: "text/plain", ndjson: "application/x-ndjson", browser: "text/event-stream"} {
		if got := f.answer.Header; got.Get("Content-Type") != mediaType+"; charset=utf-8" || got.Get("Date") == "" || got.Get("X-Accel-Buffering") != "no" {
			t.Errorf("%s: %v", mediaType, got)
		}
	}
	if got := b.send("POST", "/record", strings.Repeat("x", maxMessage+1)); got.status != 413 {
		t.Fatal(got.status)
	}
	const second = "two\r\nlines\r & <b>"
	b.record("first")
	b.record(second)
	if line := text.line(); !strings.HasPrefix(line, "2\t") || !strings.HasSuffix(line, "\tfirst") {
		t.Errorf("as text: %q", line)
	}
	if line := text.line(); !strings.HasSuffix(line, "\t"+`two\r\nlines\r & <b>`) {
		t.Errorf("as text: %q", line)
	}
	for _, want := range []string{"first", second} {
		var m struct{ Value string }
		if err := json.Unmarshal([]byte(ndjson.line()), &m); err != nil || m.Value != want {
			t.Errorf("as NDJSON: %q %v", m.Value, err)
		}
	}
	for i, want := range []string{">first</p>", "two&#13;\nlines&#13; &amp; &lt;b&gt;</p>"} {
		id, data := browser.event()
		if id != strconv.Itoa(i+2) || !strings.Contains(data, want) || !strings.Contains(data, `<section class="day">`) {
			t.Errorf("event %s: %q", id, data)
		}
	}
}

// TestLiveMissesNothing comes back at each place in the book: near its end, which is in memory, and far from it, which is not.
func TestLiveMissesNothing(t *testing.T) {
	b := open(t)
	b.fill(500)
	b.follow("") // somebody listens all the time
	b.fill(1200) // more than is kept in memory
	for _, last := range []int{0, 1, 250, 499, 500, 501, 690, 701, 1000, 1699} {
		for _, f := range []*follower{
			b.follow(fmt.Sprint("?after=", last)),
			b.follow("?after=3", "Last-Event-ID", strconv.Itoa(last)),
		} {
			for id := last + 1; id <= 1700; id++ {
				if line := f.line(); !strings.HasPrefix(line, fmt.Sprint(id, "\t")) {
					t.Fatalf("after %d: %q comes where %d should", last, line, id)
				}
			}
			if err := f.answer.Body.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestLiveThatIsNone(t *testing.T) {
	b := open(t)
	for query, status := range map[string]int{"?after=x": 400, "?after=-1": 400, "?format=html&after=1": 406} {
		if got := b.send("GET", "/live"+query, ""); got.status != status || got.body == "" {
			t.Errorf("%s: %d %q", query, got.status, got.body)
		}
	}
	if got := b.send("GET", "/live", "", "Last-Event-ID", "x"); got.status != 400 {
		t.Errorf("Last-Event-ID: %d", got.status)
	}
	if got := b.send("HEAD", "/live", "", "Accept", "text/event-stream"); got.status != 200 || !strings.HasPrefix(got.header.Get("Content-Type"), "text/event-stream") {
		t.Errorf("HEAD: %d %v", got.status, got.header)
	}
}

// TestLiveTellsWhatAnotherProcessRecords has two servers on one book.
func TestLiveTellsWhatAnotherProcessRecords(t *testing.T) {
	path := filepath.Join(t.TempDir(), "daybook.db")
	b, other := openAt(t, path), openAt(t, path)
	f := b.follow("")
	other.record("elsewhere")
	if line := f.line(); !strings.HasSuffix(line, "\telsewhere") {
		t.Errorf("%q", line)
	}
}

// TestLiveEndsWithTheServer has streams in which nothing happens, and shuts down.
func TestLiveEndsWithTheServer(t *testing.T) {
	b := open(t)
	f := b.follow("")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := b.server.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(f.lines); err != nil || len(rest) > 0 {
		t.Errorf("the stream ends with %q, %v", rest, err)
	}
}

// TestNobodyLooksAfterTheEnd has a follower that takes nothing while the server shuts down, and the database is closed.
func TestNobodyLooksAfterTheEnd(t *testing.T) {
	b := open(t)
	b.client.Message.MapCreateBulk(make([]int, 500), func(create *ent.MessageCreate, _ int) {
		create.SetValue(strings.Repeat("x", 50_000))
	}).ExecX(t.Context())
	quick := b.follow("")
	b.follow("?after=0").line()
	if err := b.server.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(quick.lines); err != nil { // until it is known
		t.Fatal(err)
	}
	if err := b.client.Close(); err != nil {
		t.Error(err)
	}
	stacks := make([]byte, 1<<20)
	for limit := time.Now().Add(5 * time.Second); ; runtime.Gosched() {
		if n := runtime.Stack(stacks, true); !strings.Contains(string(stacks[:n]), "(*live).run") {
			break
		}
		if time.Now().After(limit) {
			t.Fatal("somebody still looks for messages")
		}
	}
	if log := b.log.String(); strings.Contains(log, "ERROR") {
		t.Error(log)
	}
}

// TestFollowersSeeTheBook has many record at once, while followers are cut off at random and come back. Each sees the book, in
// order.
func TestFollowersSeeTheBook(t *testing.T) {
	b := open(t)
	const recorders, each, followers = 200, 10, 50
	const total = recorders * each
	var all sync.WaitGroup
	for i := range followers {
		all.Go(func() {
			cut := rand.New(rand.NewPCG(uint64(i), 1))
			for last := 0; last < total; {
				f := b.follow("", "Accept", "text/event-stream", "Last-Event-ID", strconv.Itoa(last))
				for until := last + 1 + cut.IntN(total/4); last < min(until, total); last++ {
					if id, _ := f.event(); id != strconv.Itoa(last+1) {
						t.Errorf("follower %d: %s comes after %d", i, id, last)
						return
					}
				}
				f.answer.Body.Close()
			}
		})
	}
	for i := range recorders {
		all.Go(func() {
			for j := range each {
				b.record(fmt.Sprint(i, " ", j))
			}
		})
	}
	all.Wait()
	if n := len(b.values()); n != total {
		t.Errorf("%d messages, want %d", n, total)
	}
}

// TestFollowersComeAndGo has many that leave at once, or before they are answered, while somebody records. None gets a message
// twice, or out of order, and nobody is told of an error.
func TestFollowersComeAndGo(t *testing.T) {
	b := open(t)
	ctx, over := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			for ctx.Err() == nil {
				b.glance(ctx, rand.N(5*time.Millisecond))
			}
		})
	}
	for i := range 300 {
		b.record(fmt.Sprint(i))
	}
	over()
	all.Wait()
	for line := range strings.Lines(b.log.String()) {
		if !strings.Contains(line, "level=INFO") {
			t.Error(line)
		}
	}
}

// glance follows for a while.
func (b *book) glance(ctx context.Context, while time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, while)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, "GET", b.url+"/live", nil)
	if err != nil {
		b.t.Error(err)
		return
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		return
	}
	defer response.Body.Close()
	lines := bufio.NewReader(response.Body)
	for last := 0; ; last++ {
		var id int
		if _, err := fmt.Fscanf(lines, "%d\t%s\t%s\n", &id, new(string), new(string)); err != nil {
			return
		}
		if last == 0 {
			last = id - 1
		}
		if id != last+1 {
			b.t.Errorf("%d comes after %d", id, last)
		}
	}
}

// pipes is a listener of connections in memory, so that a test with a clock of its own can wait for them.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	conn, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}
func (p pipes) Close() error   { close(p); return nil }
func (p pipes) Addr() net.Addr { return &net.UnixAddr{} }

// inABubble calls test with a book in memory's time, and a function that connects to it.
func inABubble(t *testing.T, test func(t *testing.T, client *ent.Client, dial func() net.Conn)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "daybook.db")
	synctest.Test(t, func(t *testing.T) {
		driver, err := database.Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		client := ent.NewClient(ent.Driver(driver))
		if err := database.Migrate(t.Context(), driver, schema.Version, migrate.Tables...); err != nil {
			t.Fatal(err)
		}
		listener := make(pipes)
		server := handlers.New(client, slog.New(slog.DiscardHandler), maxMessage).Server
		var served sync.WaitGroup
		served.Go(func() { _ = server.Serve(listener) })
		t.Cleanup(func() {
			if err := server.Shutdown(context.Background()); err != nil {
				t.Error(err)
			}
			served.Wait()
			time.Sleep(time.Second) // until nobody looks for messages any more
			if err := client.Close(); err != nil {
				t.Error(err)
			}
		})
		test(t, client, func() net.Conn {
			ours, theirs := net.Pipe()
			listener <- theirs
			t.Cleanup(func() { _ = ours.Close() })
			return ours
		})
	})
}

func TestLiveHasAHeartbeat(t *testing.T) {
	inABubble(t, func(t *testing.T, client *ent.Client, dial func() net.Conn) {
		conn, begun := dial(), time.Now()
		fmt.Fprint(conn, "GET /live HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n")
		lines := bufio.NewReader(conn)
		for beats := 0; beats < 20; { // longer than any limit of the server's
			line, err := lines.ReadString('\n')
			if err != nil {
				t.Fatalf("after %s: %v", time.Since(begun), err)
			}
			if line == ":\n" {
				beats++
			}
		}
		if took := time.Since(begun); took < 4*time.Minute || took > 6*time.Minute {
			t.Errorf("20 heartbeats took %s", took)
		}
		client.Message.Create().SetValue("after a while").ExecX(t.Context())
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(line, "after a while") {
				return
			}
		}
	})
}

// TestFollowerThatTakesItsTime takes a long message at 64 KiB a second, as long as it goes on.
func TestFollowerThatTakesItsTime(t *testing.T) {
	inABubble(t, func(t *testing.T, client *ent.Client, dial func() net.Conn) {
		conn := dial()
		fmt.Fprint(conn, "GET /live HTTP/1.1\r\nHost: x\r\n\r\n")
		if _, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil {
			t.Fatal(err)
		}
		client.Message.Create().SetValue(strings.Repeat("x", 2<<20)).ExecX(t.Context())
		part := make([]byte, 64<<10)
		for taken := 0; taken < 2<<20; time.Sleep(time.Second) {
			n, err := io.ReadFull(conn, part)
			if err != nil {
				t.Fatalf("it is cut off after %d bytes: %v", taken, err)
			}
			taken += n
		}
	})
}

// TestFollowerFarBehindTakesLittleMemory has long messages wait for one that takes its time.
func TestFollowerFarBehindTakesLittleMemory(t *testing.T) {
	inABubble(t, func(t *testing.T, client *ent.Client, dial func() net.Conn) {
		for range 60 {
			client.Message.Create().SetValue(strings.Repeat("x", 1<<20)).ExecX(t.Context())
		}
		conn := dial()
		fmt.Fprint(conn, "GET /live?after=0 HTTP/1.1\r\nHost: x\r\n\r\n")
		if _, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		runtime.GC()
		var memory runtime.MemStats
		runtime.ReadMemStats(&memory)
		if memory.HeapAlloc > 30<<20 {
			t.Errorf("%d MiB are in memory for it", memory.HeapAlloc>>20)
		}
	})
}

// TestFollowerAfterADroppedMessage comes back when what it has missed is not in the book any more.
func TestFollowerAfterADroppedMessage(t *testing.T) {
	inABubble(t, func(t *testing.T, client *ent.Client, dial func() net.Conn) {
		client.Message.CreateBulk(client.Message.Create().SetValue("one"), client.Message.Create().SetValue("two")).ExecX(t.Context())
		first, conn := dial(), dial()
		fmt.Fprint(first, "GET /live HTTP/1.1\r\nHost: x\r\n\r\n")
		if _, err := http.ReadResponse(bufio.NewReader(first), nil); err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = io.Copy(io.Discard, first) }()
		client.Message.DeleteOneID(2).ExecX(t.Context())
		fmt.Fprint(conn, "GET /live?after=1 HTTP/1.1\r\nHost: x\r\n\r\n")
		lines := bufio.NewReader(conn)
		if _, err := http.ReadResponse(lines, nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		client.Message.Create().SetValue("three").ExecX(t.Context())
		if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if line, err := lines.ReadString('\n'); !strings.HasSuffix(line, "\tthree\n") {
			t.Errorf("it gets %q, %v", line, err)
		}
	})
}

// TestSlowFollowerIsCutOff has one that takes nothing, and one that takes everything.
func TestSlowFollowerIsCutOff(t *testing.T) {
	inABubble(t, func(t *testing.T, client *ent.Client, dial func() net.Conn) {
		slow, quick := dial(), dial()
		for _, conn := range []net.Conn{slow, quick} {
			fmt.Fprint(conn, "GET /live HTTP/1.1\r\nHost: x\r\n\r\n")
			if _, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil {
				t.Fatal(err)
			}
		}
		begun := time.Now()
		client.Message.Create().SetValue("hello").ExecX(t.Context())
		line, err := bufio.NewReader(quick).ReadString('\n')
		if err != nil || !strings.HasSuffix(line, "\thello\n") || time.Since(begun) > 2*time.Second {
			t.Errorf("the quick one gets %q after %s: %v", line, time.Since(begun), err)
		}
		time.Sleep(15 * time.Second)
		if rest, err := io.ReadAll(slow); err != nil || len(rest) > 0 {
			t.Errorf("the slow one gets %q, %v", rest, err)
		}
	})
}
