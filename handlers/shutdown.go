package handlers

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
)

// How long a server that shuts down waits for clients.
const (
	clientGrace = 5 * time.Second // until they have sent what they began to send, and read what they began to read
	answerGrace = 2 * time.Second // for an answer that is ready during the shutdown
)

// shutdown bounds how long clients can keep a server from shutting down. net/http waits for every request that is running, and one
// whose client sends nothing and reads nothing runs for as long as an ordinary time limit allows.
type shutdown struct {
	ctx      context.Context // ends when the shutdown begins
	deadline time.Time       // of clients; set before ctx ends

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

func newShutdown(server *http.Server) *shutdown {
	ctx, begin := context.WithCancel(context.Background())
	s := &shutdown{ctx: ctx, conns: map[net.Conn]struct{}{}}
	server.ConnState = s.track
	server.RegisterOnShutdown(func() {
		s.deadline = time.Now().Add(clientGrace)
		begin() // before deadlines are set: allow relies on it
		s.limitAll()
	})
	return s
}

// begun reports whether the server shuts down.
func (s *shutdown) begun() bool { return s.ctx.Err() != nil }

// done returns a channel that is closed when the shutdown begins.
func (s *shutdown) done() <-chan struct{} { return s.ctx.Done() }

// track knows the connections of the server.
func (s *shutdown) track(conn net.Conn, state http.ConnState) {
	if state == http.StateActive || state == http.StateIdle {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if state == http.StateNew {
		s.conns[conn] = struct{}{}
	} else {
		delete(s.conns, conn)
	}
}

// limitAll sets the deadline of all clients. When it has passed, net/http also cancels the requests whose bodies were complete
// before the shutdown. That is no recording any more: those wait for their turn no longer than clients are waited for.
func (s *shutdown) limitAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.conns {
		_ = conn.SetDeadline(s.deadline) // can only fail if the connection is closed
	}
}

// allow gives the client as long as limit to read the next portion of its answer, but no longer than a shutdown waits.
func (s *shutdown) allow(to http.ResponseWriter, limit time.Duration) error {
	control := http.NewResponseController(to)
	if err := control.SetWriteDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	if s.begun() { // maybe only now, and then the line above has undone what limitAll did
		return control.SetWriteDeadline(s.deadline)
	}
	return nil
}

// finish lets an answer leave that is ready only when the deadline is near or has passed: of what was recorded meanwhile, or of a body
// that did not come.
func (s *shutdown) finish(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		answer := c.Response()
		answer.Before(func() {
			if s.begun() { // and if the deadline cannot be set, the client has left
				_ = http.NewResponseController(answer).SetWriteDeadline(time.Now().Add(answerGrace))
			}
		})
		return next(c)
	}
}
