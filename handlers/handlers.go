// Package handlers answers Daybook's requests: which address does what, the order of the middleware, and how an error
// becomes an answer.
//
// What a handler does in the database is one transaction, which package transaction ends before the answer leaves.
// What the answer looks like is decided by package views.
package handlers

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"entgo.io/ent/dialect"
	"github.com/labstack/echo/v4"

	"daybook/database"
	"daybook/ent"
	_ "daybook/ent/runtime" // the hooks of the schema
	"daybook/live"
	"daybook/transaction"
)

// app is what the handlers share.
type app struct {
	client     *ent.Client
	driver     dialect.Driver
	hub        *live.Hub
	horizon    *horizon
	shutdown   context.Context // ends when it begins
	log        *slog.Logger
	maxMessage int // bytes
	zone       *time.Location
}

// New returns the application, whose Server is ready to serve. It stores messages of at most maxMessage bytes with the client of the
// driver, and logs requests and the causes of errors to log.
func New(client *ent.Client, driver dialect.Driver, log *slog.Logger, maxMessage int) *echo.Echo {
	e := echo.New()
	shutdown, begin := context.WithCancel(context.Background())
	e.Server.RegisterOnShutdown(begin)
	a := app{client: client, driver: driver, horizon: &horizon{}, shutdown: shutdown, log: log, maxMessage: maxMessage, zone: time.Local}
	a.hub = live.New(shutdown, a.source(), log)
	e.HTTPErrorHandler = a.fail
	limit(e.Server, log)

	// A request passes these from top to bottom, its answer from bottom to top.
	e.Use(
		a.logRequest,
		recoverPanic(),
		a.limitClient,
		headers,
		refuseCrossOrigin(),
		limitBody(maxMessage),
		transaction.Middleware(client.BeginTx,
			transaction.Retry(repeatable),
			transaction.Unavailable(database.IsBusy),
			transaction.Unknown(database.IsUnknown),
			transaction.Trace(database.Trace),
			transaction.Log(log),
		),
	)

	read := []string{http.MethodGet, http.MethodHead}
	e.Match(read, "/", a.list)
	e.Match(read, "/feed", a.feed)
	e.Match(read, "/live", a.follow, transaction.None)
	e.Match(read, "/messages/:id", a.show)
	e.Match(read, "/record", a.recordByAddress, transaction.Write)
	e.POST("/record", a.record)
	e.Match(read, "/healthz", healthz)
	e.Match(read, "/robots.txt", robots)
	e.Match(read, "/static/:name", staticFile)
	return e
}

// reader returns what reads messages with the client.
func (a app) reader(client *ent.Client) reader {
	return reader{client, a.driver.Dialect(), a.horizon, a.maxMessage}
}
