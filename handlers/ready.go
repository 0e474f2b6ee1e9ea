package handlers

import (
	"context"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"entgo.io/ent/dialect"
	"github.com/labstack/echo/v4"
	"golang.org/x/sync/singleflight"

	"daybook/database"
	"daybook/views"
)

// pingTimeout is how long the database may take to answer before it counts as out of reach.
const pingTimeout = 2 * time.Second

// readiness is whether the database can be reached.
type readiness struct {
	driver dialect.Driver
	log    *slog.Logger
	pings  singleflight.Group // so that requests, which need no token, occupy at most one connection
	failed atomic.Bool        // the last ping
}

// check returns why the database cannot be reached. It logs when that begins, and when it ends.
func (r *readiness) check() error {
	_, err, _ := r.pings.Do("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.Background(), pingTimeout)
		defer cancel()
		err := database.Ping(ctx, r.driver)
		switch failed := r.failed.Swap(err != nil); {
		case err != nil && !failed:
			r.log.LogAttrs(ctx, slog.LevelError, "the database cannot be reached", slog.Any("error", err))
		case err == nil && failed:
			r.log.LogAttrs(ctx, slog.LevelInfo, "the database can be reached again")
		}
		return nil, err
	})
	return err
}

// watchPause is the time between two looks at SQLite's file.
const watchPause = time.Second

// watch has check log that SQLite's file was taken away, and brought back, of a server that nobody asks for anything. It looks only at
// the names and the sizes of the files.
func (r *readiness) watch(ctx context.Context) {
	for ctx.Err() == nil {
		if _, err := database.Stats(ctx, r.driver); (err != nil) != r.failed.Load() {
			_ = r.check() // which logs it
		}
		select {
		case <-time.After(watchPause):
		case <-ctx.Done():
		}
	}
}

// readyz answers whether requests can be served: what sends them here, a load balancer for example, must ask it.
func (a app) readyz(c echo.Context) error {
	switch err := a.readiness.check(); {
	case a.shutdown.Err() != nil:
		return notReady(c, "The server is shutting down.")
	case err != nil:
		return notReady(c, "The database cannot be reached.")
	}
	return c.String(http.StatusOK, "ready\n")
}

// notReady answers here, and returns no error that would be logged: whoever asks, asks each second.
func notReady(c echo.Context, sentence string) error {
	c.Response().Header().Set(echo.HeaderRetryAfter, "1")
	return sendProblem(c, views.Problem{Status: http.StatusServiceUnavailable, Detail: sentence})
}
