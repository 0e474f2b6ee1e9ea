package handlers

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/labstack/echo/v4"

	"daybook/book"
	"daybook/database"
	"daybook/ent"
	"daybook/live"
	"daybook/views"
)

// heartbeat is the interval of the comments in a stream of events without messages: they show that the other side is there.
const heartbeat = 15 * time.Second

// events is the format of a browser's EventSource.
var events = format{"events", "text/event-stream"}

// follow sends messages as they are recorded: those after the one that the client names, or those from now on.
func (a app) follow(c echo.Context) error {
	format, err := negotiate(c, text, events, ndjson)
	if err != nil {
		return err
	}
	last, err := lastOf(c)
	if err != nil {
		return err
	}
	announce(c, format, http.StatusOK)
	c.Response().Header().Set("X-Accel-Buffering", "no") // nginx would hold messages back
	if c.Request().Method == http.MethodHead {
		return c.NoContent(http.StatusOK)
	}
	c.Response().Header().Set(echo.HeaderConnection, "close") // with the stream: it may end because the server stops
	ctx := c.Request().Context()
	subscriber, err := a.hub.Subscribe(ctx, last, live.Encoder{Format: format.name, Append: func(dst []byte, m *ent.Message) []byte {
		view := views.Message{Message: m, Zone: a.zone}
		if format == events {
			return append(dst, view.Event()...)
		}
		if m.Removes != nil {
			return dst // lines have no events
		}
		return appendView(slices.Grow(dst, len(m.Value)+100), format, view)
	}})
	if err != nil {
		return fmt.Errorf("follow: %w", err)
	}
	defer subscriber.Close()
	s := a.stream(c, format)
	beat := []byte(":\n\n") // a comment
	if format != events {
		beat = nil // lines have no comments
	}
	if s.write(beat) != nil {
		return nil // the client has left; the request log has the duration and the bytes
	}
	for ctx.Err() == nil && a.shutdown.Err() == nil {
		messages, changed, err := subscriber.Next(ctx)
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("follow: %w", err)
		}
		if s.write(messages) != nil || len(messages) == 0 && s.wait(ctx, changed, beat) != nil {
			return nil // the client has left, or is too slow
		}
	}
	return nil
}

// source returns where the hub finds messages.
func (a app) source() live.Source {
	from := a.reader(a.client)
	return live.Source{
		NewestID: from.NewestID,
		After:    from.Following,
		Removes:  from.Removes,
		Listen: func(ctx context.Context, changed func()) error {
			return database.Listen(ctx, a.driver, book.Channel, changed)
		},
		Announce: func(ctx context.Context) error { return database.Notify(ctx, a.driver, book.Channel) },
	}
}

// lastOf returns the ID of the message after which the client follows. A browser that reconnects has it in a header.
func lastOf(c echo.Context) (last int, err error) {
	name, query := "after", c.QueryParams()
	if id := c.Request().Header.Get("Last-Event-ID"); id != "" {
		name, query = "Last-Event-ID", url.Values{"Last-Event-ID": {id}}
	}
	last = live.Now
	err = number(query, name, 0, everything.last, &last)
	return last, err
}

// wait sends what is buffered, and waits until there may be messages or it is time for a heartbeat.
func (s *stream) wait(ctx context.Context, changed <-chan struct{}, beat []byte) error {
	s.to.Flush()
	select {
	case <-changed:
		beat = nil
	case <-time.After(heartbeat):
	case <-ctx.Done():
		return ctx.Err()
	case <-s.shutdown.Done():
		return nil
	}
	if err := s.giveTime(); err != nil {
		return err
	}
	return s.write(beat)
}
