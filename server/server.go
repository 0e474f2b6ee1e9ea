// Package server listens, serves and stops. What it accepts, it answers: a stop resets no connection, tells clients on the last
// answer that their connection ends, and waits for the requests that run. It leaves it to the application to end streams, to say
// that it is not ready any more, and to limit slow clients. It stands alone: it imports no other folder of Daybook.
//
// Under systemd it uses the socket that it is passed, says when it is ready, and says when it stops. The queue of such a socket
// stays with systemd, so that a restart refuses nobody.
package server

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Limits of a stop.
const (
	grace    = 9 * time.Second        // for the running requests
	patience = 300 * time.Millisecond // until it says what it waits for
	silence  = time.Second            // for a connection without a request, to bring one after all
	closing  = 500 * time.Millisecond // for a client to take the last answer, and to close the connection
)

// Serve serves until ctx ends, and then stops. The answers of the application must have the header Connection: close from then on.
// If that takes a while, Serve calls waiting with the number of running requests. After 9 seconds, it cuts off the rest.
func Serve(ctx context.Context, server *http.Server, listener *Listener, waiting func(requests int64)) error {
	c := &conns{ctx: ctx, quiet: map[net.Conn]time.Time{}}
	server.ConnState = c.changed
	server.Handler = c.count(server.Handler)
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil { // clients can connect already
		return fmt.Errorf("tell systemd that the server is ready: %w", err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(staged{listener, c}) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	_, _ = daemon.SdNotify(true, daemon.SdNotifyStopping) // systemd can do without
	c.stopping = time.Now()
	defer time.AfterFunc(patience, func() {
		if running := c.running.Load(); running > 0 {
			waiting(running)
		}
	}).Stop()
	if !listener.Inherited {
		wait(silence, c.none) // who asks whether it is ready must be able to connect
	}
	listener.stop()
	<-served
	wait(time.Until(c.stopping.Add(grace)), c.silent)
	c.cut.Store(true)
	return server.Close() // cutting off is no failure: nobody was told that those requests have succeeded
}

// wait returns when the condition is true, or after a time.
func wait(most time.Duration, condition func() bool) {
	for end := time.Now().Add(most); !condition() && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
}

// conns are the open connections.
type conns struct {
	ctx      context.Context // ends when the stop begins
	running  atomic.Int64    // requests, also those of a pipeline, of which net/http says nothing
	cut      atomic.Bool     // the stop is over
	stopping time.Time       // when the stop began

	mu    sync.Mutex
	quiet map[net.Conn]time.Time // of each, since when it has had no request, or the zero time while it has one
}

// changed is told by net/http what becomes of a connection.
func (c *conns) changed(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateNew, http.StateIdle:
		c.quiet[conn] = time.Now()
	case http.StateActive:
		c.quiet[conn] = time.Time{}
	default:
		delete(c.quiet, conn)
	}
}

// count counts the running requests.
func (c *conns) count(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.running.Add(1)
		defer c.running.Add(-1)
		next.ServeHTTP(w, r)
	})
}

// none reports whether no connection is open.
func (c *conns) none() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.quiet) == 0
}

// silent reports whether the open connections have had no request for a while of the stop. http.Server.Shutdown would not wait: it
// resets a connection on which a request arrives just then.
func (c *conns) silent() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, since := range c.quiet {
		if since.IsZero() || time.Since(since) < silence || time.Since(c.stopping) < silence {
			return false
		}
	}
	return c.running.Load() == 0
}

// staged is a listener whose connections are closed in stages during a stop.
type staged struct {
	*Listener
	conns *conns
}

func (s staged) Accept() (net.Conn, error) {
	accepted, err := s.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{accepted.(stream), s.conns}, nil
}

// stream is a *net.TCPConn or a *net.UnixConn.
type stream interface {
	net.Conn
	CloseWrite() error
	SetWriteBuffer(bytes int) error
}

// conn is an accepted connection.
type conn struct {
	stream
	conns *conns
}

// Close closes the connection: during a stop first for writing, and altogether when the client has closed it, too, or after a
// while. A pipeline may have brought more requests: unless they are read, the connection is reset, and the client may lose the last
// answer (RFC 9112, section 9.6).
func (c *conn) Close() error {
	if c.conns.ctx.Err() != nil && !c.conns.cut.Load() {
		c.conns.changed(c, http.StateActive) // of a pipelined request, net/http has not said it
		_ = c.CloseWrite()                   // errors mean that the client has left
		_ = c.SetReadDeadline(time.Now().Add(closing))
		_, _ = io.Copy(io.Discard, c.stream)
	}
	return c.stream.Close()
}
