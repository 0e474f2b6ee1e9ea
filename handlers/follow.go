package handlers

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
)

// patience is how long a listener may take for each portion of what it is sent before it is cut off. It can come again, and say
// what it had last.
const patience = 10 * time.Second

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
	newest, err := b.live.join(c.Request().Context())
	if err != nil {
		return fmt.Errorf("follow: %w", err)
	}
	if last == nil {
		last = &newest
	}
	conn, head, err := takeOver(c)
	if err != nil {
		b.live.leave()
		return fmt.Errorf("follow: %w", err)
	}
	c.Set(failed, true) // a client that has left already is the listener's to notice: here nothing can be answered any more
	go listener{live: b.live, conn: conn, format: format}.run(head, *last)
	return nil
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

// takeOver takes the connection from the server, which would keep buffers and the stack of a whole request for it: that is 38 KB
// for each listener, and 12 without. So the response, of which it returns the head, ends when the connection does.
func takeOver(c echo.Context) (conn net.Conn, head []byte, err error) {
	var b bytes.Buffer
	c.Response().Header().Set("Connection", "close")
	c.Response().Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
	b.WriteString("HTTP/1.1 200 OK\r\n")
	if err := c.Response().Header().Write(&b); err != nil {
		return nil, nil, err
	}
	b.WriteString("\r\n")
	conn, _, err = c.Response().Hijack()
	return conn, b.Bytes(), err
}

// listener is a client that follows, on a connection of its own.
type listener struct {
	live   *live
	conn   net.Conn
	format format
}

// run sends the head of the response, and what comes after the message with the number last.
func (l listener) run(head []byte, last int) {
	ctx, gone := context.WithCancel(l.live.over)
	defer gone()
	defer l.live.leave()
	defer l.conn.Close()
	go func() {
		defer gone()
		var nothing [16]byte // is all that it sends, before it leaves
		for {
			if _, err := l.conn.Read(nothing[:]); err != nil {
				return
			}
		}
	}()
	if err := l.write(net.Buffers{head}); err != nil {
		return
	}
	for beat := true; ; {
		found, wake, err := l.live.since(ctx, last)
		if err != nil {
			l.live.fail(ctx, err)
			return
		}
		if len(found) > 0 || beat {
			if err := l.send(found); err != nil {
				return // it has left, or is cut off
			}
		}
		if beat = false; len(found) > 0 {
			last = found[len(found)-1].ID
			continue // there may be more
		}
		select {
		case <-wake:
			beat = true // unless there is something to say
		case <-ctx.Done():
			return
		}
	}
}

// send sends messages, or a heartbeat if there are none, by which either side sees whether the other is still there. Lines have
// nothing that could be one.
func (l listener) send(moments []*moment) error {
	var next net.Buffers
	size := 0
	if len(moments) == 0 && l.format == events {
		next = append(next, []byte(":\n\n"))
	}
	for _, m := range moments {
		for some := range slices.Chunk(m.in(l.format), portion) {
			next = append(next, some)
			if size += len(some); size < portion {
				continue
			}
			if err := l.write(next); err != nil {
				return err
			}
			next, size = nil, 0
		}
	}
	return l.write(next)
}

// write sends a portion.
func (l listener) write(encoded net.Buffers) error {
	if err := l.conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err := encoded.WriteTo(l.conn)
	return err
}
