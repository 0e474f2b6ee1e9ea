package transaction_test

import (
	"context"
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"daybook/database"
	"daybook/transaction"
)

// recordSpans returns an observer that records a span for each transaction. Its parent is the span in the request's context, if a
// middleware for OpenTelemetry has begun one.
func recordSpans(tracer trace.Tracer) func(context.Context, transaction.Report) {
	return func(ctx context.Context, r transaction.Report) {
		if r.Mode == "none" {
			return
		}
		_, span := tracer.Start(ctx, "transaction "+r.Route, trace.WithTimestamp(r.Asked), trace.WithAttributes(
			attribute.String("transaction.mode", r.Mode),
			attribute.String("transaction.outcome", string(r.Outcome)),
			attribute.Int("transaction.attempts", r.Attempts),
			attribute.Int("transaction.statements", r.Statements),
		))
		begun := r.Asked.Add(r.Waited)
		ending := begun.Add(r.Held)
		ended := trace.WithTimestamp(ending.Add(r.Ending))
		span.AddEvent("begun", trace.WithTimestamp(begun))
		span.AddEvent("ending", trace.WithTimestamp(ending))
		if r.Outcome != transaction.Committed {
			span.SetStatus(codes.Error, string(r.Outcome))
			span.RecordError(r.Reason, ended)
		}
		span.End(ended)
	}
}

// Trace transactions with OpenTelemetry. An application exports its spans to a collector, and not to memory.
func ExampleObserve_openTelemetry() {
	client, remove := openClient()
	defer remove()
	spans := tracetest.NewInMemoryExporter()
	provider := sdk.NewTracerProvider(sdk.WithSyncer(spans))

	e := echo.New()
	e.Use(transaction.Middleware(client.BeginTx,
		transaction.Trace(database.Trace),
		transaction.Observe(recordSpans(provider.Tracer("example.org/notes"))),
	))
	e.POST("/messages", func(c echo.Context) error {
		if err := save(c, c.FormValue("text")); err != nil {
			return err
		}
		if c.FormValue("text") == "second thoughts" {
			return echo.ErrConflict
		}
		return c.NoContent(http.StatusNoContent)
	})

	try(e, http.MethodPost, "/messages?text=hello")
	try(e, http.MethodPost, "/messages?text=second+thoughts")
	for _, span := range spans.GetSpans() {
		fmt.Printf("%s: %s\n", span.Name, span.Status.Code)
		for _, a := range span.Attributes {
			fmt.Printf("  %s=%s\n", a.Key, a.Value.String())
		}
		for _, event := range span.Events {
			fmt.Println(" ", event.Name, "in time:", !event.Time.Before(span.StartTime) && !event.Time.After(span.EndTime))
		}
	}
	// Output:
	// 204
	// 409 {"message":"Conflict"}
	// transaction POST /messages: Unset
	//   transaction.mode=write
	//   transaction.outcome=committed
	//   transaction.attempts=1
	//   transaction.statements=1
	//   begun in time: true
	//   ending in time: true
	// transaction POST /messages: Error
	//   transaction.mode=write
	//   transaction.outcome=rolled back
	//   transaction.attempts=1
	//   transaction.statements=1
	//   begun in time: true
	//   ending in time: true
	//   exception in time: true
}
