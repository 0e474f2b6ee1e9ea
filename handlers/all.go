package handlers

import (
	"context"
	"fmt"
	"iter"
	"net/http"

	"github.com/labstack/echo/v4"

	"daybook/ent"
	"daybook/views"
)

// batchLimit limits what is read of all messages at a time.
var batchLimit = limits{messages: 1000, text: 64 << 10}

// all sends every message up to the newest of this moment, or those that contain the words. Text and NDJSON begin with the
// oldest, JSON with the newest, as on a page.
//
// Messages do not change, so one batch after another is as good as a snapshot. While the client is slow, it holds no connection
// to the database, and no more memory than a batch.
func (a app) all(c echo.Context) error {
	format, err := negotiate(c, text, asJSON, ndjson)
	if err != nil {
		return err
	}
	query, err := parameters(c)
	if err != nil {
		return err
	}
	words, err := wordsOf(query)
	if err != nil {
		return err
	}
	announce(c, format, http.StatusOK)
	if c.Request().Method == http.MethodHead {
		return c.NoContent(http.StatusOK)
	}
	ctx := c.Request().Context()
	newest, err := a.client.Message.Query().Order(newestFirst).FirstID(ctx)
	if ent.MaskNotFound(err) != nil {
		return fmt.Errorf("send all messages: %w", err)
	}
	batches := batches(ctx, a.client, span{0, newest}, format == asJSON, words)
	if err := (&stream{to: c.Response(), shutdown: a.shutdown}).sendAll(format, batches); err != nil {
		return fmt.Errorf("send all messages: %w", err) // the answer stays without its end
	}
	return nil
}

// sendAll sends the batches. Only an error of the first one can still be answered.
func (s *stream) sendAll(format format, batches iter.Seq2[[]*ent.Message, error]) error {
	var next []byte
	begin, between, end := "", "", ""
	if format == asJSON {
		begin, between, end = `{"messages":[`, ",", "]}\n"
	}
	for batch, err := range batches {
		if err == nil && !s.to.Committed {
			err = s.begin()
		}
		if err != nil {
			return err
		}
		for _, m := range batch {
			next = appendView(append(next, begin...), format, views.Message{Message: m})
			begin = between
		}
		if err := s.write(next); err != nil {
			return err
		}
		next = next[:0]
	}
	if begin != between {
		end = begin + end // there are no messages
	}
	return s.write([]byte(end))
}

// batches yields the messages of the span that contain the words, in order. Nothing is open between two batches.
func batches(ctx context.Context, client *ent.Client, s span, backward bool, words []string) iter.Seq2[[]*ent.Message, error] {
	order := oldestFirst
	if backward {
		order = newestFirst
	}
	return func(yield func([]*ent.Message, error) bool) {
		for more := true; more; {
			batch, rest, err := take(ctx, client, order, batchLimit, s.contains(words)...)
			if !yield(batch, err) || err != nil {
				return
			}
			if more = rest; more && backward {
				s.last = batch[len(batch)-1].ID - 1
			} else if more {
				s.first = batch[len(batch)-1].ID + 1
			}
		}
	}
}
