package database

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// silencePause is the time between two looks at the connections that wait for the server.
const silencePause = 5 * time.Second

// silence closes connections to a server that takes what is sent and answers nothing: it, or a proxy before it, is suspended. A long
// statement looks the same, so the server is asked on a new connection.
type silence struct {
	config *pgx.ConnConfig // to ask with
	stop   func()

	mu    sync.Mutex
	conns map[*awaited]int64 // with their number of reads at the last look
}

// watchSilence looks until stop is called.
func watchSilence(config *pgx.ConnConfig) *silence {
	s := &silence{config: config, conns: map[*awaited]int64{}}
	ctx, cancel := context.WithCancel(context.Background())
	var looking sync.WaitGroup
	looking.Go(func() {
		ticker := time.NewTicker(silencePause)
		defer ticker.Stop()
		for ctx.Err() == nil {
			select {
			case <-ticker.C:
				s.look(ctx)
			case <-ctx.Done():
			}
		}
	})
	s.stop = func() {
		cancel()
		looking.Wait()
	}
	return s
}

// add returns the connection as one that is watched until it is closed.
func (s *silence) add(conn net.Conn) net.Conn {
	a := &awaited{Conn: conn, by: s}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[a] = 0
	return a
}

// look closes the connections that wait since the last look, if their server does not answer otherwise.
func (s *silence) look(ctx context.Context) {
	for server, conns := range s.waiting() {
		if s.answers(ctx, server) {
			continue
		}
		for _, conn := range conns {
			_ = conn.Close() // fails only if it is closed already
		}
	}
}

// endpoint is the address of a server, to be used as a key.
type endpoint struct{ network, address string }

// waiting returns the connections that wait in the same read as at the last look.
func (s *silence) waiting() map[endpoint][]*awaited {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := map[endpoint][]*awaited{}
	for conn, before := range s.conns {
		reads := conn.reads.Load()
		s.conns[conn] = reads
		if reads == before && reads%2 == 1 {
			server := endpoint{conn.RemoteAddr().Network(), conn.RemoteAddr().String()}
			found[server] = append(found[server], conn)
		}
	}
	return found
}

// answers reports whether the server lets a client in, or says why not. It may take maxWait.
func (s *silence) answers(ctx context.Context, server endpoint) bool {
	config := s.config.Copy()
	config.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return s.config.DialFunc(ctx, server.network, server.address)
	}
	config.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
	limited, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	conn, err := pgx.ConnectConfig(limited, config)
	if err == nil {
		_ = conn.Close(limited) // it has answered
		return true
	}
	_, refused := errors.AsType[*pgconn.PgError](err)
	return refused || ctx.Err() != nil
}

// awaited is a connection that counts its reads, both when they begin and when they end: while the number is odd, it waits.
type awaited struct {
	net.Conn
	by    *silence
	reads atomic.Int64
}

// NetConn returns the connection itself, like that of [crypto/tls.Conn].
func (a *awaited) NetConn() net.Conn { return a.Conn }

func (a *awaited) Read(to []byte) (int, error) {
	a.reads.Add(1)
	defer a.reads.Add(1)
	return a.Conn.Read(to)
}

func (a *awaited) Close() error {
	a.by.mu.Lock()
	defer a.by.mu.Unlock()
	delete(a.by.conns, a)
	return a.Conn.Close()
}
