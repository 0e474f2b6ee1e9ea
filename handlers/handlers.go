// Package handlers answers Daybook's requests: which address does what, in which order a request passes through what
// all of them need, and how errors become answers.
//
// What a handler does in the database is one transaction, which package transaction ends before the answer leaves;
// what the answer looks like is package views' to say.
package handlers

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"daybook/database"
	"daybook/ent"
	_ "daybook/ent/runtime" // the hooks of the schema
	"daybook/live"
	"daybook/transaction"
)

// book is what the handlers share.
type book struct {
	client     *ent.Client
	hub        *live.Hub
	shutdown   *shutdown
	log        *slog.Logger
	maxMessage int
	zone       *time.Location
}

// New returns the application. Its messages are the client's, and hold at most maxMessage bytes each. Requests and
// the causes of errors are logged to log. The Server of the returned Echo is ready to serve.
func New(client *ent.Client, log *slog.Logger, maxMessage int) *echo.Echo {
	e := echo.New()
	shutdown := newShutdown(e.Server)
	b := book{
		client:     client,
		hub:        live.New(client, log),
		shutdown:   shutdown,
		log:        log,
		maxMessage: maxMessage,
		zone:       time.Local,
	}
	e.HTTPErrorHandler = b.fail
	limit(e.Server, log)

	// A request passes these from top to bottom, its answer from bottom to top.
	e.Use(
		b.logRequest(),
		requestID,
		recoverPanic(),
		shutdown.finish,
		headers,
		refuseCrossOrigin(),
		limitBody(maxMessage),
		transaction.Middleware(client.BeginTx,
			transaction.Retry(database.IsRepeatable),
			transaction.Unavailable(database.IsBusy),
			transaction.Trace(database.Trace),
			transaction.Log(log),
		),
	)

	read := []string{http.MethodGet, http.MethodHead}
	e.Match(read, "/", b.list)
	e.Match(read, "/feed", b.feed)
	e.Match(read, "/live", b.follow, transaction.None)
	e.Match(read, "/messages/:id", b.show)
	e.Match(read, "/record", b.recordByAddress, transaction.Write)
	e.POST("/record", b.record)
	e.Match(read, "/healthz", alive)
	e.Match(read, "/robots.txt", robots)
	e.Match(read, "/static/:name", staticFile)
	return e
}
