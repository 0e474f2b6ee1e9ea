package handlers

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"daybook/ent"
	"daybook/live"
	"daybook/views"
)

// A client that follows must read at least a portion within its time, if there is as much for it, or it is disconnected. It can
// come back and say what it had last.
const (
	streamPortion = 64 << 10
	streamTimeout = 10 * time.Second
)

// heartbeat is after how long a stream in which nothing happens gets a comment, by which either side sees whether the other is
// still there.
const heartbeat = 15 * time.Second

// events is how a browser's EventSource follows.
var events = format{"events", "text/event-stream"}

// follow sends messages as they are recorded, until the client leaves or the server shuts down: those after the one that the client
// had last, if it says so, or those recorded from now on.
func (b book) follow(c echo.Context) error {
	format, err := negotiate(c.Request(), text, events, ndjson)
	if err != nil {
		return err
	}
	last, err := lastOf(c)
	if err != nil {
		return err
	}
	announce(c, format, http.StatusOK)
	c.Response().Header().Set("X-Accel-Buffering", "no") // nginx would wait for more
	if c.Request().Method == http.MethodHead {
		return c.NoContent(http.StatusOK)
	}
	subscriber, err := b.hub.Subscribe(c.Request().Context(), last)
	if err != nil {
		return fmt.Errorf("follow: %w", err)
	}
	defer subscriber.Close()
	s := stream{to: c.Response(), format: format, zone: b.zone, shutdown: b.shutdown}
	return s.run(c.Request().Context(), subscriber)
}

// lastOf returns the number of the message that the client had last, or nil: a browser that has been cut off says it by a header.
func lastOf(c echo.Context) (*int, error) {
	if id := c.Request().Header.Get("Last-Event-ID"); id != "" {
		last, err := strconv.Atoi(id)
		if err != nil || last < 0 || last == math.MaxInt {
			return nil, refuse(http.StatusBadRequest, "Last-Event-ID is not the number of a message.")
		}
		return &last, nil
	}
	return number(c.QueryParams(), "after", 0, math.MaxInt-1)
}

// stream is the answer to a client that follows.
type stream struct {
	to       *echo.Response
	format   format
	zone     *time.Location
	shutdown *shutdown
	portion  int // bytes that were sent since the client was last given time
}

// run sends what the subscriber is handed. A write fails when the client has left or is too slow: nobody is there to be answered
// then, and the request log has how long it took and how many bytes were sent.
func (s *stream) run(ctx context.Context, subscriber *live.Subscriber) error {
	s.to.WriteHeader(http.StatusOK)
	if err := s.beat(); err != nil {
		return nil
	}
	for !s.shutdown.begun() {
		messages, changed, err := subscriber.Next(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("follow: %w", err)
		}
		if err := s.send(messages); err != nil {
			return nil
		}
		if len(messages) > 0 {
			continue // there may be more
		}
		if err := s.wait(ctx, changed); err != nil {
			return nil
		}
	}
	return nil
}

// wait sends what is still in a buffer, and waits until there may be messages. Meanwhile it sends heartbeats.
func (s *stream) wait(ctx context.Context, changed <-chan struct{}) error {
	s.to.Flush()
	select {
	case <-changed:
		return s.giveTime()
	case <-time.After(heartbeat):
		return s.beat()
	case <-ctx.Done():
		return ctx.Err()
	case <-s.shutdown.done():
		return nil
	}
}

// beat sends a heartbeat. Lines have nothing that could be one.
func (s *stream) beat() error {
	if err := s.giveTime(); err != nil || s.format != events {
		return err
	}
	_, err := s.to.Write([]byte(":\n\n"))
	return err
}

func (s *stream) send(messages []*live.Message) error {
	for _, m := range messages {
		if err := s.write(m.Encoded(s.format.name, s.encode)); err != nil {
			return err
		}
	}
	return nil
}

// encode returns the message as the stream's format has it.
func (s *stream) encode(m *ent.Message) []byte {
	view := views.Message{Message: m, Zone: s.zone}
	switch s.format {
	case events:
		return view.Event()
	case ndjson:
		return append(view.AppendJSON(nil), '\n')
	}
	return view.AppendText(nil)
}

// write gives the client time for each portion, whether that is a part of one message or many short ones.
func (s *stream) write(encoded []byte) error {
	for chunk := range slices.Chunk(encoded, streamPortion) {
		if s.portion+len(chunk) > streamPortion {
			if err := s.giveTime(); err != nil {
				return err
			}
		}
		s.portion += len(chunk)
		if _, err := s.to.Write(chunk); err != nil {
			return err
		}
	}
	return nil
}

// giveTime begins a portion.
func (s *stream) giveTime() error {
	s.portion = 0
	return s.shutdown.allow(s.to, streamTimeout)
}
