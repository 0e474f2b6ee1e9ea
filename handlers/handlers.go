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
	"golang.org/x/sync/semaphore"

	"daybook/book"
	"daybook/database"
	"daybook/ent"
	"daybook/live"
	"daybook/transaction"
)

// Config is what an application is made of.
type Config struct {
	Client     *ent.Client
	Driver     dialect.Driver  // the client's
	Shutdown   context.Context // ends when the server begins to stop
	Log        *slog.Logger    // for requests, and the causes of errors
	MaxMessage int             // bytes
	Keep       time.Duration   // how long messages are kept; 0 is for ever
	Access     Access
}

// app is what the handlers share.
type app struct {
	client     *ent.Client
	driver     dialect.Driver
	hub        *live.Hub
	horizon    *book.Horizon
	shutdown   context.Context // ends when it begins
	log        *slog.Logger
	denials    *denials
	maxMessage int // bytes
	access     Access
	bulk       *semaphore.Weighted // turns of reading many messages
	zone       *time.Location
	readiness  *readiness
	metrics    *metrics
}

// New returns the application, whose Server is ready to serve.
func New(config Config) *echo.Echo {
	e := echo.New()
	a := app{
		client:     config.Client,
		driver:     config.Driver,
		horizon:    &book.Horizon{},
		shutdown:   config.Shutdown,
		log:        config.Log,
		denials:    &denials{},
		maxMessage: config.MaxMessage,
		access:     config.Access,
		bulk:       newBulk(),
		zone:       time.Local,
		readiness:  &readiness{driver: config.Driver, log: config.Log},
	}
	a.hub = live.New(a.shutdown, a.source(), a.log)
	if config.Keep > 0 {
		go book.Keep(a.shutdown, config.Driver, config.Keep, a.hub.Forget, a.log)
	}
	if a.driver.Dialect() == dialect.SQLite {
		go a.readiness.watch(a.shutdown)
	}
	a.metrics = newMetrics(a)
	e.HTTPErrorHandler = a.fail
	e.IPExtractor, e.SchemeExtractor = a.visitor, a.scheme
	limit(e.Server, a.log)

	// A request passes these from top to bottom, its answer from bottom to top, and then those of its route from left to right.
	e.Use(
		a.logRequest,
		recoverPanic(),
		a.limitClient,
		a.headers,
		a.checkHost,
		refuseCrossOrigin(),
	)
	body, rate := a.limitBody(), a.limitRate()
	inTransaction := transaction.Middleware(a.client.BeginTx,
		transaction.Retry(repeatable),
		transaction.Unavailable(database.IsBusy),
		transaction.Unknown(database.IsUnknown),
		transaction.Trace(database.Trace),
		transaction.Observe(a.metrics.observeTransaction),
		transaction.MaxHeld(1<<20+6*a.maxMessage), // a character may be answered as six: \u0001
		transaction.Log(a.log),
	)

	e.Match(read, "/", a.list, a.mayRead, inTransaction)
	e.Match(read, "/feed", a.feed, a.mayRead, inTransaction)
	e.Match(read, "/live", a.follow, a.mayRead, inTransaction, transaction.None)
	e.Match(read, "/messages/:id", a.show, a.mayRead, inTransaction)
	e.DELETE("/messages/:id", a.remove, a.mayRemove, inTransaction)
	e.Match(read, "/messages/:id/delete", a.confirmRemoval, a.mayRemove, inTransaction)
	e.POST("/messages/:id/delete", a.remove, a.mayRemove, inTransaction)
	e.Match(read, "/record", a.recordByAddress, a.mayRecord, rate, inTransaction, transaction.Write)
	e.POST("/record", a.record, a.mayRecord, body, rate, inTransaction)
	e.Match(read, "/healthz", healthz)
	e.Match(read, "/readyz", a.readyz)
	e.Match(read, "/metrics", a.metrics.handler(), a.mayRead)
	e.Match(read, "/robots.txt", robots)
	e.Match(read, "/static/:name", staticFile)
	return e
}

// read are the methods that only read.
var read = []string{http.MethodGet, http.MethodHead}
