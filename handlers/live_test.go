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
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"daybook/database"
	"daybook/database/databasetest"
	"daybook/ent"
	"daybook/ent/migrations"
	"daybook/handlers"
)

// follower is a client that follows.
type follower struct {
	t      testing.TB
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
	for i, want := range []string{">first</p>", "two\nlines\n &amp; &lt;b&gt;</p>"} {
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
	url := databasetest.New(t)
	b, other := openAt(t, url), openAt(t, url)
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

// TestLiveIsLoggedAtItsEnd has a stream, whose request is logged like any other.
func TestLiveIsLoggedAtItsEnd(t *testing.T) {
	b := open(t)
	f := b.follow("")
	b.record("hello")
	sent := len(f.line()) + len("\n")
	if log := b.log.String(); strings.Contains(log, "path=/live") {
		t.Errorf("it is logged before its end:\n%s", log)
	}
	f.answer.Body.Close()
	b.log.waitFor(t, 1, fmt.Sprintf("path=/live status=200 bytes=%d took=", sent))
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
	if n := runtime.Stack(stacks, true); strings.Contains(string(stacks[:n]), "(*Hub).poll") {
		t.Error("somebody still looks for messages")
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

// bubble is a Daybook in a time of its own, which passes when everybody waits, and the clients that are connected to it.
type bubble struct {
	t      *testing.T
	client *ent.Client
	server *http.Server
	begin  func() // begins a shutdown, but goes on serving
	conns  pipes
}

// inABubble calls test with a Daybook in a bubble, and shuts that down. A bubble cannot wait for a server outside of it.
func inABubble(t *testing.T, test func(t *testing.T, b *bubble)) {
	t.Helper()
	databasetest.SQLiteOnly(t)
	path := databasetest.New(t)
	synctest.Test(t, func(t *testing.T) {
		driver, err := database.Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		client := ent.NewClient(ent.Driver(driver))
		if err := database.Migrate(t.Context(), driver, migrations.Files, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
		shutdown, begin := context.WithCancel(t.Context())
		b := &bubble{t, client, handlers.New(handlers.Config{
			Client: client, Driver: driver, Shutdown: shutdown, Log: slog.New(slog.DiscardHandler), MaxMessage: 10 * maxMessage,
		}).Server, begin, make(pipes)}
		b.server.RegisterOnShutdown(begin)
		var served sync.WaitGroup
		served.Go(func() { _ = b.server.Serve(b.conns) })
		t.Cleanup(func() {
			if err := b.server.Shutdown(context.Background()); err != nil {
				t.Error(err)
			}
			served.Wait()
			if err := client.Close(); err != nil {
				t.Error(err)
			}
		})
		test(t, b)
	})
}

// say sends to the server on a connection of its own.
func (b *bubble) say(what string) net.Conn {
	b.t.Helper()
	ours, theirs := net.Pipe()
	b.conns <- theirs
	b.t.Cleanup(func() { _ = ours.Close() })
	if _, err := io.WriteString(ours, what); err != nil {
		b.t.Fatal(err)
	}
	return ours
}

// follow opens a stream, and returns its connection and its lines. The rest of the request is headers.
func (b *bubble) follow(query, rest string) (net.Conn, *bufio.Reader) {
	b.t.Helper()
	conn := b.say("GET /live" + query + " HTTP/1.1\r\nHost: localhost\r\n" + rest + "\r\n")
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return conn, bufio.NewReader(response.Body)
}

// record records as another process does.
func (b *bubble) record(values ...string) {
	b.t.Helper()
	b.client.Message.MapCreateBulk(values, func(create *ent.MessageCreate, i int) {
		create.SetValue(values[i])
	}).ExecX(b.t.Context())
}

func TestLiveHasAHeartbeat(t *testing.T) {
	inABubble(t, func(t *testing.T, b *bubble) {
		begun := time.Now()
		_, lines := b.follow("", "Accept: text/event-stream\r\n")
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
		b.record("after a while")
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

// TestFollowerOfAQuietBook has nothing happen for longer than a client may take to read what it is sent.
func TestFollowerOfAQuietBook(t *testing.T) {
	inABubble(t, func(t *testing.T, b *bubble) {
		_, lines := b.follow("", "")
		for _, quiet := range []time.Duration{12 * time.Second, 2 * time.Minute} {
			time.Sleep(quiet)
			b.record("after " + quiet.String())
			if line, err := lines.ReadString('\n'); err != nil || !strings.HasSuffix(line, "\tafter "+quiet.String()+"\n") {
				t.Fatalf("after %s: %q, %v", quiet, line, err)
			}
		}
	})
}

// TestFollowerThatTakesItsTime takes a long message at 64 KiB a second, as long as it goes on.
func TestFollowerThatTakesItsTime(t *testing.T) {
	inABubble(t, func(t *testing.T, b *bubble) {
		_, body := b.follow("", "")
		b.record(strings.Repeat("x", 2<<20))
		part := make([]byte, 64<<10)
		for taken := 0; taken < 2<<20; time.Sleep(time.Second) {
			n, err := io.ReadFull(body, part)
			if err != nil {
				t.Fatalf("it is cut off after %d bytes: %v", taken, err)
			}
			taken += n
		}
	})
}

// TestFollowerThatHardlyReadsIsCutOff takes a kilobyte a second: of one long message, or of many short ones.
func TestFollowerThatHardlyReadsIsCutOff(t *testing.T) {
	for name, values := range map[string][]string{
		"long":  {strings.Repeat("x", 1<<20)},
		"short": slices.Repeat([]string{strings.Repeat("x", 500)}, 2000),
	} {
		t.Run(name, func(t *testing.T) {
			inABubble(t, func(t *testing.T, b *bubble) {
				b.record(values...)
				begun := time.Now()
				_, body := b.follow("?after=0", "")
				part := make([]byte, 1000)
				for {
					time.Sleep(time.Second)
					if _, err := io.ReadFull(body, part); err != nil {
						break
					}
				}
				if took := time.Since(begun); took > 25*time.Second {
					t.Errorf("it is cut off after %s", took)
				}
			})
		})
	}
}

// TestFollowerFarBehindTakesLittleMemory has long messages wait for one that takes its time.
func TestFollowerFarBehindTakesLittleMemory(t *testing.T) {
	b := open(t)
	for range 60 {
		b.client.Message.Create().SetValue(strings.Repeat("x", 1<<20)).ExecX(t.Context())
	}
	before := inUse() // the connections keep the memory that recording took
	f := b.follow("?after=0")
	f.line()
	if used := inUse() - before; used > 20<<20 {
		t.Errorf("%d MiB are in memory for it", used>>20)
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

// TestFollowerAfterADroppedMessage comes back when what it has missed is not in the book any more.
func TestFollowerAfterADroppedMessage(t *testing.T) {
	b := open(t)
	b.record("one")
	b.record("two")
	first := b.follow("")
	b.client.Message.DeleteOneID(2).ExecX(t.Context())
	second := b.follow("?after=1")
	b.record("three")
	for _, f := range []*follower{first, second} {
		if line := f.line(); !strings.HasPrefix(line, "3\t") {
			t.Errorf("it gets %q", line)
		}
	}
}

// TestSlowFollowerIsCutOff has one that takes nothing, and one that takes everything.
func TestSlowFollowerIsCutOff(t *testing.T) {
	inABubble(t, func(t *testing.T, b *bubble) {
		slow, _ := b.follow("", "")
		_, quick := b.follow("", "")
		begun := time.Now()
		b.record("hello")
		line, err := quick.ReadString('\n')
		if err != nil || !strings.HasSuffix(line, "\thello\n") || time.Since(begun) > 2*time.Second {
			t.Errorf("the quick one gets %q after %s: %v", line, time.Since(begun), err)
		}
		time.Sleep(15 * time.Second)
		if rest, err := io.ReadAll(slow); err != nil || len(rest) > 0 {
			t.Errorf("the slow one gets %q, %v", rest, err)
		}
	})
}

// TestReloadedPageHearsAtOnce has the only follower leave and come back at once, as a page does that is loaded again. What is
// recorded then is not left to the next look at the clock.
func TestReloadedPageHearsAtOnce(t *testing.T) {
	b := open(t)
	late := 0
	const rounds = 60
	for i := range rounds {
		b.follow("").answer.Body.Close()
		f := b.follow("")
		begun := time.Now()
		b.record(fmt.Sprint(i))
		if line := f.line(); !strings.HasSuffix(line, fmt.Sprint("\t", i)) {
			t.Fatalf("round %d: %q", i, line)
		}
		if time.Since(begun) > 500*time.Millisecond {
			late++
		}
		f.answer.Body.Close()
	}
	if late > 0 {
		t.Errorf("%d of %d messages came late", late, rounds)
	}
}
