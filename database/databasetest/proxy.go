package databasetest

import (
	"crypto/tls"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Proxy is a network between a program and a [Server]: it passes on what both say, with the troubles that a test asks for.
type Proxy struct {
	// Delay holds up what is passed on, in either direction: nanoseconds.
	Delay atomic.Int64

	// TLS is for those who connect from now on. Without it, they cannot ask for TLS.
	TLS atomic.Pointer[tls.Config]

	server string // its socket
	lose   func(answer []byte) bool
	frozen sync.RWMutex
	mu     sync.Mutex
	links  []*link
}

// link is a connection of the program and its counterpart to the server.
type link struct {
	client, server net.Conn
	deaf           atomic.Bool // the client gets nothing any more
}

// Through returns the URL of a server's database by way of a proxy that listens on the address: host:port, or "unix". If lose is not
// nil, it reports whether an answer gets lost: the connection is then cut.
func Through(t testing.TB, address, database string, lose func(answer []byte) bool) (p *Proxy, through string) {
	t.Helper()
	parsed, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	const name = ".s.PGSQL.5432"
	p = &Proxy{server: filepath.Join(parsed.Query().Get("host"), name), lose: lose}
	folder, err := os.MkdirTemp("", "proxy") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	network := "tcp"
	if address == "unix" {
		network, address = address, filepath.Join(folder, name)
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
		p.Cut()
		running.Wait()
		_ = os.RemoveAll(folder)
	})
	query := parsed.Query()
	query.Set("host", folder)
	if tcp, ok := listener.Addr().(*net.TCPAddr); ok {
		query.Set("host", tcp.IP.String())
		query.Set("port", strconv.Itoa(tcp.Port))
		query.Set("sslmode", "disable")
	}
	parsed.RawQuery = query.Encode()
	return p, parsed.String()
}

func (p *Proxy) serve(client net.Conn) {
	server, err := net.Dial("unix", p.server)
	if err != nil {
		_ = client.Close()
		return
	}
	if config := p.TLS.Load(); config != nil {
		_, _ = io.ReadFull(client, make([]byte, 8)) // the request for TLS; an error comes back at the handshake
		_, _ = io.WriteString(client, "S")
		client = tls.Server(client, config)
	}
	l := &link{client: client, server: server}
	p.mu.Lock()
	p.links = append(p.links, l)
	p.mu.Unlock()
	var passing sync.WaitGroup
	passing.Go(func() { p.pass(server, client, nil, &atomic.Bool{}) })
	passing.Go(func() { p.pass(client, server, p.lose, &l.deaf) })
	passing.Wait()
}

// pass passes on what comes, until either side is closed.
func (p *Proxy) pass(to, from net.Conn, lose func([]byte) bool, deaf *atomic.Bool) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil || lose != nil && lose(buffer[:n]) {
			return
		}
		time.Sleep(time.Duration(p.Delay.Load()))
		p.frozen.RLock()
		if !deaf.Load() {
			_, err = to.Write(buffer[:n])
		}
		p.frozen.RUnlock()
		if err != nil {
			return
		}
	}
}

// Freeze lets nothing through, on new connections neither, until thaw is called.
func (p *Proxy) Freeze() (thaw func()) {
	p.frozen.Lock()
	return p.frozen.Unlock
}

// Swallow makes whoever is connected wait for ever: the server's answers get lost. New connections work.
func (p *Proxy) Swallow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.links {
		l.deaf.Store(true)
	}
}

// Cut cuts all connections. On TCP the program's are reset.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.links {
		if tcp, ok := l.client.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = l.client.Close()
		_ = l.server.Close()
	}
	p.links = nil
}
