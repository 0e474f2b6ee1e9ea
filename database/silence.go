package database

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// silencePause is the time between two looks at the connections that wait for the server.
const silencePause = 5 * time.Second

// silence closes connections on which nothing is answered, although what is sent arrives somewhere: the server, or a proxy before it, is
// suspended, or has lost the answer. A long statement looks the same, so the server is asked on a new connection.
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
		tick := time.Tick(silencePause)
		for ctx.Err() == nil {
			select {
			case <-tick:
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
func (s *silence) add(conn net.Conn) *awaited {
	a := &awaited{Conn: conn, by: s}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[a] = 0
	return a
}

// look closes the connections that wait since the last look, and for nothing.
func (s *silence) look(ctx context.Context) {
	for server, conns := range s.waiting() {
		for _, conn := range s.lost(ctx, server, conns) {
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

// lost returns the connections that wait for nothing: all, if the server lets no client in and does not say why, or those on which it
// runs nothing. It may take maxWait.
func (s *silence) lost(ctx context.Context, server endpoint, waiting []*awaited) []*awaited {
	config := s.config.Copy()
	config.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return s.config.DialFunc(ctx, server.network, server.address)
	}
	config.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
	limited, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	conn, err := pgx.ConnectConfig(limited, config)
	if _, refused := errors.AsType[*pgconn.PgError](err); refused || ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return waiting
	}
	defer conn.Close(limited)
	idle := idleProcesses(limited, conn)
	return slices.DeleteFunc(waiting, func(a *awaited) bool { return !slices.Contains(idle, a.pid.Load()) })
}

// idleProcesses returns the server's processes for the user that have been idle since before the last look. If they are not known, as
// through PgBouncer while it waits for a server, none is.
func idleProcesses(ctx context.Context, conn *pgx.Conn) []uint32 {
	rows, _ := conn.Query(ctx, "SELECT pid FROM pg_stat_activity WHERE state LIKE 'idle%' AND state_change < clock_timestamp() - $1::interval",
		silencePause)
	idle, _ := pgx.CollectRows(rows, pgx.RowTo[uint32]) // none after an error, which may be that of Query
	return idle
}

// awaited is a connection that counts its reads, both when they begin and when they end: while the number is odd, it waits.
type awaited struct {
	net.Conn
	by    *silence
	reads atomic.Int64
	pid   atomic.Uint32 // of the server's process for it, once it is open
}

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
