package database_test

import (
	"bytes"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"

	"daybook/database"
	"daybook/database/databasetest"
)

// proxy stands between the driver and a server.
type proxy struct {
	server string       // its socket
	lose   atomic.Bool  // cut a connection instead of passing on an answer to COMMIT or INSERT
	lost   atomic.Int32 // answers
	frozen sync.RWMutex // locked while nothing is passed on
	mu     sync.Mutex
	conns  []net.Conn
}

// through returns the URL of a database by way of a proxy that listens on the network.
func through(t *testing.T, network, database string) (*proxy, string) {
	t.Helper()
	parsed, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	const name = ".s.PGSQL.5432"
	p := &proxy{server: filepath.Join(parsed.Query().Get("host"), name)}
	folder, err := os.MkdirTemp("", "proxy") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(folder, name)
	}
	listener, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() { p.serve(client) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		p.cut()
		running.Wait()
		_ = os.RemoveAll(folder)
	})
	query := parsed.Query()
	query.Set("host", folder)
	if tcp, ok := listener.Addr().(*net.TCPAddr); ok {
		query.Set("host", "127.0.0.1")
		query.Set("port", strings.TrimPrefix(tcp.String(), "127.0.0.1:"))
		query.Set("sslmode", "disable")
	}
	parsed.RawQuery = query.Encode()
	return p, parsed.String()
}

func (p *proxy) serve(client net.Conn) {
	server, err := net.Dial("unix", p.server)
	if err != nil {
		_ = client.Close()
		return
	}
	p.mu.Lock()
	p.conns = append(p.conns, client, server)
	p.mu.Unlock()
	var passing sync.WaitGroup
	pass := func(to, from net.Conn, stop func([]byte) bool) {
		defer to.Close()
		defer from.Close()
		buffer := make([]byte, 64<<10)
		for {
			n, err := from.Read(buffer)
			if err != nil || stop(buffer[:n]) {
				return
			}
			p.frozen.RLock()
			_, err = to.Write(buffer[:n])
			p.frozen.RUnlock()
			if err != nil {
				return
			}
		}
	}
	passing.Go(func() { pass(server, client, func([]byte) bool { return false }) })
	passing.Go(func() {
		pass(client, server, func(answer []byte) bool {
			stop := p.lose.Load() && (bytes.Contains(answer, []byte("COMMIT")) || bytes.Contains(answer, []byte("INSERT 0 1")))
			if stop {
				p.lost.Add(1)
			}
			return stop
		})
	})
	passing.Wait()
}

// cut cuts all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range p.conns {
		_ = conn.Close()
	}
}

// testLostAnswer has the server commit, and its answer not arrive.
func testLostAnswer(t *testing.T, server *databasetest.Server) {
	direct, url := openOn(t, server, "")
	for _, network := range []string{"unix", "tcp"} {
		p, url := through(t, network, url)
		driver := reopen(t, url)
		for _, readOnly := range []bool{false, true} {
			tx := begin(t, driver, readOnly)
			if number(t, tx, "SELECT count(*) FROM note"); !readOnly {
				exec(t, tx, "INSERT INTO note VALUES ($1)", network)
			}
			p.lose.Store(true)
			err := tx.Commit() // what only reads has nothing to keep
			p.lose.Store(false)
			if database.IsUnknown(err) == readOnly || database.IsBusy(err) != readOnly || database.IsRepeatable(err) {
				t.Errorf("%s: the commit, read only %t: %q", network, readOnly, err)
			}
		}
		p.lose.Store(true)
		for _, err := range []error{
			driver.Exec(t.Context(), "INSERT INTO note VALUES ('"+network+" outside')", []any{}, nil),
			driver.Exec(t.Context(), "INSERT INTO note VALUES ($1)", []any{network + " outside with arguments"}, nil),
			driver.Query(t.Context(), "INSERT INTO note VALUES ($1) RETURNING 1", []any{network + " outside by a query"}, &entsql.Rows{}),
		} {
			if !database.IsUnknown(err) || database.IsBusy(err) {
				t.Errorf("%s: a statement outside: %v", network, err)
			}
		}
		p.lose.Store(false)
		if n := p.lost.Load(); n != 5 {
			t.Errorf("%s: %d answers were lost", network, n)
		}
		tx := begin(t, driver, false)
		exec(t, tx, "INSERT INTO note VALUES ($1)", network+" again")
		commit(t, tx)
	}
	if n := number(t, direct, "SELECT count(*) FROM note"); n != 10 {
		t.Errorf("%d rows, want 10", n)
	}
}

// testLostBeforeCommit cuts a connection, or has the server end it, when nothing is under way. COMMIT then says that nothing is kept,
// once the kernel has told this side; before that, that it does not know.
func testLostBeforeCommit(t *testing.T, server *databasetest.Server) {
	direct, url := openOn(t, server, "")
	for _, network := range []string{"unix", "tcp"} {
		p, url := through(t, network, url)
		driver := reopen(t, url)
		for name, end := range map[string]func(pid int){
			"cut":   func(int) { p.cut() },
			"ended": func(pid int) { exec(t, direct, "SELECT pg_terminate_backend($1)", pid) },
		} {
			eventually(t, 10*time.Second, network+", "+name+": COMMIT knows that nothing is kept", func() bool {
				err := loseBefore(t, direct, driver, end).Commit()
				if !database.IsBusy(err) && !database.IsUnknown(err) {
					t.Fatalf("%s, %s: the commit: %v", network, name, err)
				}
				return database.IsBusy(err)
			})
			tx := loseBefore(t, direct, driver, end)
			statement := tx.Exec(t.Context(), "INSERT INTO note VALUES ('b')", []any{}, nil)
			for what, err := range map[string]error{"a statement": statement, "the commit after it": tx.Commit()} {
				if !database.IsBusy(err) || database.IsUnknown(err) {
					t.Errorf("%s, %s, %s: %v", network, name, what, err)
				}
			}
		}
	}
	if n := number(t, direct, "SELECT count(*) FROM note"); n != 0 {
		t.Errorf("%d rows, want none", n)
	}
}

// loseBefore returns a transaction whose connection the server does not have any more.
func loseBefore(t *testing.T, direct, driver dialect.Driver, end func(pid int)) dialect.Tx {
	t.Helper()
	tx := begin(t, driver, false)
	exec(t, tx, "INSERT INTO note VALUES ('a')")
	pid := number(t, tx, "SELECT pg_backend_pid()")
	end(pid)
	eventually(t, time.Second, "the server has ended the transaction", func() bool {
		return number(t, direct, fmt.Sprint("SELECT count(*) FROM pg_stat_activity WHERE pid = ", pid)) == 0
	})
	return tx
}
