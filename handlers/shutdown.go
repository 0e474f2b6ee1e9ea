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

// newShutdown returns a context that ends when the server's shutdown begins.
func newShutdown(server *http.Server) context.Context {
	ctx, begin := context.WithCancel(context.Background())
	server.RegisterOnShutdown(begin)
	return ctx
}

// limitClient limits how long the request's client can delay a shutdown: net/http waits for every running request, also for one
// whose client neither sends nor reads. At the deadline, net/http also cancels a request whose body has arrived; a recording has
// ended by then, since its turn comes within that time or not at all.
func (a app) limitClient(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		// The errors of setting a deadline are ignored: they mean that the client has left.
		control := http.NewResponseController(c.Response())
		defer context.AfterFunc(a.shutdown, func() {
			deadline := time.Now().Add(clientGrace)
			_ = control.SetReadDeadline(deadline)
			_ = control.SetWriteDeadline(deadline)
		})()
		c.Response().Before(func() {
			if a.shutdown.Err() != nil {
				_ = control.SetWriteDeadline(time.Now().Add(answerGrace))
			}
		})
		return next(c)
	}
}
