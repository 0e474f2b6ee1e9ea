package handlers_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"daybook/database/databasetest"
)

// proxy stands between a book and PostgreSQL. It can lose the answers to COMMIT.
type proxy struct {
	received atomic.Int64 // bytes from the server
	lose     atomic.Int32 // so many answers; then the connection is cut
	instead  atomic.Value // what is sent in place of an answer, a string
}

// openBehindProxy opens a book whose way to the database is the proxy.
func openBehindProxy(t *testing.T) (*book, *proxy) {
	t.Helper()
	postgresOnly(t)
	direct := databasetest.New(t)
	parsed, err := url.Parse(direct)
	if err != nil {
		t.Fatal(err)
	}
	folder, err := os.MkdirTemp("", "proxy") // t.TempDir can be too long for the address of a socket
	if err != nil {
		t.Fatal(err)
	}
	const socket = ".s.PGSQL.5432"
	listener, err := net.Listen("unix", filepath.Join(folder, socket))
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{}
	p.instead.Store("")
	from := parsed.Query().Get("host")
	var passing sync.WaitGroup
	passing.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("unix", filepath.Join(from, socket))
			if err != nil {
				t.Error(err)
				return
			}
			passing.Go(func() { p.pass(client, server) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		passing.Wait()
		os.RemoveAll(folder)
	})
	return openAt(t, strings.Replace(direct, "host="+from, "host="+folder, 1)), p
}

// pass passes on what both sides say, until one of them closes.
func (p *proxy) pass(client, server net.Conn) {
	var losing atomic.Bool
	var asking sync.WaitGroup
	asking.Go(func() {
		defer server.Close()
		_ = forward(client, server, func(said []byte) []byte {
			if bytes.Contains(said, []byte("COMMIT\x00")) && p.lose.Add(-1) >= 0 {
				losing.Store(true)
			}
			return said
		})
	})
	_ = forward(server, client, func(said []byte) []byte {
		p.received.Add(int64(len(said)))
		if !losing.Load() {
			return said
		}
		_, _ = io.WriteString(client, p.instead.Load().(string)) // the server has committed
		return nil
	})
	client.Close()
	asking.Wait()
}

// forward passes on what look returns, until that is nothing.
func forward(from io.Reader, to io.Writer, look func(said []byte) []byte) error {
	for buffer := make([]byte, 64<<10); ; {
		n, err := from.Read(buffer)
		if err != nil {
			return err
		}
		said := look(buffer[:n])
		if said == nil {
			return io.EOF
		}
		if _, err := to.Write(said); err != nil {
			return err
		}
	}
}

// fatal returns the message by which PostgreSQL ends a connection.
func fatal(code, text string) string {
	fields := "SFATAL\x00VFATAL\x00C" + code + "\x00M" + text + "\x00\x00"
	return fmt.Sprintf("E\x00\x00\x00%c%s", len(fields)+4, fields)
}

// TestUnknownCommit loses the answer to COMMIT, after the server has committed.
func TestUnknownCommit(t *testing.T) {
	for name, instead := range map[string]string{
		"silence":     "",
		"a shutdown":  fatal("57P01", "terminating connection due to administrator command"),
		"a full disk": fatal("53100", "could not write to file: No space left on device"),
		"a standby":   fatal("25006", "cannot execute in a read-only transaction"),
	} {
		t.Run(name, func(t *testing.T) {
			b, p := openBehindProxy(t)
			p.instead.Store(instead)
			for i, test := range []struct {
				method, path, body string
				headers            []string
				key                bool
			}{
				{"POST", "/record", "VALUE", nil, false},
				{"POST", "/record", "msg=VALUE", []string{"Content-Type", form, "Accept", browser}, false},
				{"GET", "/record?msg=VALUE", "", nil, false},
				{"POST", "/record", "VALUE", []string{"Content-Type", plain, "Idempotency-Key", "KEY"}, true},
				{"POST", "/record", `{"msg":"VALUE"}`, []string{"Content-Type", jsonType, "Accept", jsonType, "Idempotency-Key", "KEY"}, true},
				{"POST", "/record", "msg=VALUE&key=KEY", []string{"Content-Type", form, "Accept", browser}, true},
				{"GET", "/record?msg=VALUE&key=KEY", "", nil, true},
				{"GET", "/record?msg=VALUE", "", []string{"Idempotency-Key", "KEY"}, true},
			} {
				value, key := fmt.Sprint("value-", i), fmt.Sprint("key-", i)
				replace := strings.NewReplacer("VALUE", value, "KEY", key).Replace
				headers := strings.Split(replace(strings.Join(test.headers, "|")), "|")
				if test.headers == nil {
					headers = nil
				}
				b.loseAnswer(p, test.key, value, key, func() answer {
					return b.send(test.method, replace(test.path), replace(test.body), headers...)
				})
			}
			p.lose.Store(1) // the request may be repeated by itself
			if got := b.send("POST", "/record", "once", "Idempotency-Key", "once"); got.status != 503 && got.status != 201 {
				t.Errorf("one answer is lost: %d %s", got.status, got.body)
			}
			b.keeps("once")
		})
	}
}

// loseAnswer sends a request whose COMMIT is not answered. Is it one with a key, it is sent again.
func (b *book) loseAnswer(p *proxy, keyed bool, value, key string, send func() answer) {
	b.t.Helper()
	p.lose.Store(1000)
	got := send()
	p.lose.Store(0)
	status := map[bool]int{false: 500, true: 503}[keyed]
	if got.status != status || (got.header.Get("Retry-After") != "") != keyed || !strings.Contains(got.body, "It is not known") {
		b.t.Errorf("%s: %d, Retry-After %q, %s", value, got.status, got.header.Get("Retry-After"), got.body)
	}
	if strings.Contains(got.body, "nothing") || strings.Contains(got.body, "disk") || got.header.Get("Location") != "" {
		b.t.Errorf("%s: %v %s", value, got.header, got.body)
	}
	isForm := strings.HasPrefix(got.header.Get("Content-Type"), "text/html")
	if isForm && (!strings.Contains(got.body, "\n"+value+"</textarea>") || strings.Contains(got.body, key) != keyed) {
		b.t.Errorf("%s: the form comes back as %s", value, got.body)
	}
	b.keeps(value)
	if !keyed {
		return
	}
	if again := send(); again.status != map[bool]int{false: 201, true: 303}[isForm] {
		b.t.Errorf("%s, again: %d %s", value, again.status, again.body)
	}
	b.keeps(value)
}

// keeps checks that the value is recorded once.
func (b *book) keeps(value string) {
	b.t.Helper()
	if n := b.number("SELECT count(*) FROM messages WHERE value = '" + value + "'"); n != 1 {
		b.t.Errorf("%s is recorded %d times", value, n)
	}
}

// TestNoMoreIsReadThanIsSent reads long messages: a page of them, and all.
func TestNoMoreIsReadThanIsSent(t *testing.T) {
	b, p := openBehindProxy(t)
	const messages, size = 1000, 60_000
	b.exec(fmt.Sprintf("INSERT INTO messages (value, folded, recorded_at) SELECT repeat('x', %d), '', now() FROM generate_series(1, %d)", size, messages))
	for _, test := range []struct {
		path        string
		lines, most int // bytes
	}{
		{"/?limit=1000", 1 << 20 / size, 1<<20 + 2*size},
		{"/feed?limit=1000", 0, 1<<20 + 2*size},
		{"/?limit=3", 3, 5 * size},
		{"/?all", messages, 3 * messages * size},
		{"/?all&after=990", 10, 3 * 10 * size},
	} {
		before := p.received.Load()
		got := b.send("GET", test.path, "")
		if n := strings.Count(got.body, "\n"); got.status != 200 || test.lines > 0 && n != test.lines {
			t.Errorf("%s: %d with %d lines", test.path, got.status, n)
		}
		if read := int(p.received.Load() - before); read > test.most {
			t.Errorf("%s: for %d KiB, the database has sent %d KiB", test.path, len(got.body)>>10, read>>10)
		}
	}
	before := p.received.Load()
	f := b.follow("?after=0")
	for range messages {
		f.line()
	}
	if read := p.received.Load() - before; read > 3*messages*size {
		t.Errorf("to a follower: the database has sent %d KiB", read>>10)
	}
}

// TestServerThatIsAway stops PostgreSQL, and starts it again.
func TestServerThatIsAway(t *testing.T) {
	postgresOnly(t)
	server := databasetest.Start(t, "fsync=off")
	b, other := openAt(t, server.URL("postgres")), openAt(t, server.URL("postgres"))
	b.record("before")
	f := b.follow("?after=0")
	f.line()
	server.End(syscall.SIGINT)
	for _, path := range []string{"/", "/?format=html", "/?after=0", "/?all", "/messages/1", "/feed", "/?q=a", "/?on=2026-11-20"} {
		got := b.send("GET", path, "")
		if got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" || !strings.Contains(got.body, "Please try again.") {
			t.Errorf("%s: %d, Retry-After %q: %s", path, got.status, got.header.Get("Retry-After"), got.body)
		}
	}
	if got := other.send("GET", "/live", ""); got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" {
		t.Errorf("/live: %d %s\n%s", got.status, got.body, other.log)
	}
	if got := b.send("POST", "/record", "lost"); got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" {
		t.Errorf("recording: %d %s", got.status, got.body)
	}
	if got := b.send("GET", "/healthz", ""); got.status != http.StatusOK {
		t.Errorf("/healthz: %d %s", got.status, got.body)
	}
	if err := server.Begin(); err != nil {
		t.Fatal(err)
	}
	if got := b.send("GET", "/", ""); got.status != http.StatusOK || !strings.HasSuffix(got.body, "\tbefore\n") {
		t.Errorf("after all: %d %s", got.status, got.body)
	}
	b.record("after")
	if line := f.line(); !strings.HasSuffix(line, "\tafter") {
		t.Errorf("the follower gets %q", line)
	}
}
