package handlers

import (
	"context"
	"fmt"
	"math/bits"
	"net/http"
	"slices"
	"time"

	"github.com/labstack/echo/v4"

	"daybook/book"
	"daybook/ent"
	"daybook/ent/message"
	"daybook/ent/predicate"
	"daybook/views"
)

// What is read of all messages at a time: messages, and bytes of their text.
const batchSize, batchText = 1000, 16 << 10

// all sends every message up to the newest of this moment, or those of them that the address asks for. Text and NDJSON begin
// with the oldest, JSON with the newest, as on a page.
//
// Messages do not change, so one batch after another is as good as a snapshot, less what is removed meanwhile. While the client
// is slow, it holds no connection to the database, and no more memory than a batch.
func (a app) all(c echo.Context) error {
	format, err := negotiate(c, text, asJSON, ndjson)
	if err != nil {
		return err
	}
	page, err := a.pageOf(c)
	if err != nil {
		return err
	}
	announce(c, format, http.StatusOK)
	if c.Request().Method == http.MethodHead {
		return c.NoContent(http.StatusOK)
	}
	ctx := c.Request().Context()
	from := a.reader(a.client)
	last, err := from.UpTo(ctx)
	var day span
	if err == nil {
		day, err = page.ofDay(ctx, a.client, &views.Messages{})
	}
	if err == nil {
		out := a.stream(c, format)
		err = out.sendAll(ctx, from, page, page.and(day).and(span{0, last}))
	}
	if err != nil {
		return fmt.Errorf("send all messages: %w", err) // the answer stays without its end, if it has begun
	}
	return nil
}

// sendAll sends the messages of the span that the page asks for. Only an error of the first batch can still be answered.
func (s *stream) sendAll(ctx context.Context, from reader, page page, rest span) error {
	order, begin, between, end := book.OldestFirst, "", "", ""
	if s.format == asJSON {
		order, begin, between, end = book.NewestFirst, `{"messages":[`, ",", "]}\n"
	}
	next, separator := []byte(begin), ""
	size := batchSize
	for more := true; more; next = next[:0] {
		var batch []*ent.Message
		var err error
		if batch, more, err = s.batch(ctx, from, order, size, page.where(rest)); err != nil {
			return err
		}
		// PostgreSQL looks at as many messages as it is asked for, so it is asked for about as many as the text has room for. Powers of
		// two make few different statements, which are prepared.
		size = min(batchSize, 1<<bits.Len(uint(len(batch))))
		for _, m := range batch {
			next = appendView(append(next, separator...), s.format, views.Message{Message: m})
			separator = between
		}
		if !more {
			next = append(next, end...)
		} else if last := batch[len(batch)-1].ID; s.format == asJSON {
			rest.last = last - 1
		} else {
			rest.first = last + 1
		}
		if err := s.write(next); err != nil {
			return err
		}
	}
	return nil
}

// batch returns the first messages of the span that the page asks for. While the client reads them, it is the turn of others.
func (s *stream) batch(
	ctx context.Context, from reader, order message.OrderOption, size int, conditions []predicate.Message,
) (messages []*ent.Message, more bool, err error) {
	if s.to.Committed {
		err = from.bulk.Acquire(ctx, 1) // however long it takes: the answer has begun
	} else {
		err = takeTurn(ctx, from.bulk, 1)
	}
	if err != nil {
		return nil, false, err
	}
	defer from.bulk.Release(1)
	return from.Take(ctx, order, size, batchText, conditions...)
}

// A client that reads an answer of unknown length must read each portion of it in time, or it is disconnected.
const (
	streamPortion = 64 << 10 // bytes
	streamTimeout = 10 * time.Second
)

// streamBuffer is how many bytes of a stream the system holds for a client that reads slowly, or nothing. It would hold megabytes,
// which are read from the database even if nobody wants them.
const streamBuffer = 256 << 10

// stream is an answer of unknown length.
type stream struct {
	to       *echo.Response
	format   format
	shutdown context.Context
	portion  int // bytes that were written since the deadline was set
}

// stream returns the answer of the request as a stream.
func (a app) stream(c echo.Context, format format) *stream {
	if socket, ok := c.Request().Context().Value(connKey{}).(interface{ SetWriteBuffer(bytes int) error }); ok {
		_ = socket.SetWriteBuffer(streamBuffer) // an error means that the client has left
	}
	return &stream{to: c.Response(), shutdown: a.shutdown, format: format}
}

// write writes a part of the answer, portion by portion. With the first one, the headers are sent and nothing is held back any
// more, so an error after that cannot be answered.
func (s *stream) write(part []byte) error {
	if !s.to.Committed {
		s.to.WriteHeader(http.StatusOK)
		s.to.Flush()
		s.portion = streamPortion // so the first chunk sets the deadline
	}
	for chunk := range slices.Chunk(part, streamPortion) {
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

// giveTime sets the deadline of the next portion.
func (s *stream) giveTime() error {
	s.portion = 0
	return giveTime(s.shutdown, http.NewResponseController(s.to).SetWriteDeadline, streamTimeout)
}
