package handlers

import (
	"context"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
)

// How long clients can delay a shutdown.
const (
	clientGrace = 5 * time.Second // by sending a request, or reading an answer, slowly
	answerGrace = 2 * time.Second // by reading an answer that becomes ready during the shutdown
)

// shutdown limits how long clients can delay the server's shutdown. net/http waits for every running request, also for one whose
// client neither sends nor reads.
type shutdown struct {
	ctx      context.Context // ends when the shutdown begins
	deadline time.Time       // for clients; set before ctx ends
}

func newShutdown(server *http.Server) *shutdown {
	ctx, begin := context.WithCancel(context.Background())
	s := &shutdown{ctx: ctx}
	server.RegisterOnShutdown(func() {
		s.deadline = time.Now().Add(clientGrace)
		begin()
	})
	return s
}

// limitClient sets the deadline of the request's client when the shutdown begins. When it has passed, net/http also cancels a
// request whose body has arrived; a recording has ended by then, since its turn comes within that time or not at all.
func (s *shutdown) limitClient(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		// The errors of setting a deadline are ignored: they mean that the client has left.
		control := http.NewResponseController(c.Response())
		defer context.AfterFunc(s.ctx, func() {
			_ = control.SetReadDeadline(s.deadline)
			_ = control.SetWriteDeadline(s.deadline)
		})()
		c.Response().Before(func() {
			if s.ctx.Err() != nil {
				_ = control.SetWriteDeadline(time.Now().Add(answerGrace))
			}
		})
		return next(c)
	}
}

// allow gives the client so much time to read the next portion of its answer, but not more than a shutdown does.
func (s *shutdown) allow(to http.ResponseWriter, limit time.Duration) error {
	control := http.NewResponseController(to)
	if err := control.SetWriteDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	if s.ctx.Err() != nil { // if it began just now, the line above has replaced the deadline of limitClient
		return control.SetWriteDeadline(s.deadline)
	}
	return nil
}
