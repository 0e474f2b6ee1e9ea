package handlers

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"

	"github.com/labstack/echo/v4"

	"daybook/ent"
	"daybook/views"
)

// What is read of the whole book, and sent, at a time. The client may take streamTimeout for each portion.
const (
	batchSize = 1000     // messages
	batchText = 64 << 10 // bytes of their text
	portion   = 32 << 10 // bytes of the answer
)

// all sends every message up to the newest of this moment, or every one of those that contains the words. Text and NDJSON have the
// newest last, JSON has it first, as on a page.
//
// It takes no more memory for a large book than for a small one, and, outside of the request's transaction, neither a connection to
// the database nor a snapshot while the client reads: messages do not change, so one batch after another is as good as a snapshot.
func (b book) all(c echo.Context) error {
	format, err := negotiate(c.Request(), allFormats...)
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
	newest, err := b.client.Message.Query().Order(newestFirst).FirstID(ctx)
	if ent.MaskNotFound(err) != nil {
		return fmt.Errorf("send all messages: %w", err)
	}
	s := newSender(c, format, b.shutdown)
	for batch, err := range (span{0, newest}).batches(ctx, b.client, format == asJSON, words) {
		if err == nil {
			err = s.addAll(batch)
		}
		if err != nil {
			return fmt.Errorf("send all messages: %w", err) // and the answer gets no end
		}
	}
	return s.end()
}

// batches yields the messages of the span that contain the words, in order, with nothing open between two batches.
func (s span) batches(ctx context.Context, client *ent.Client, newest bool, words []string) iter.Seq2[[]*ent.Message, error] {
	return func(yield func([]*ent.Message, error) bool) {
		order := oldestFirst
		if newest {
			order = newestFirst
		}
		for more := true; more; {
			messages, rest, err := s.take(ctx, client, order, batchSize, batchText, words)
			if !yield(messages, err) || err != nil {
				return
			}
			if more = rest; more && newest {
				s.last = messages[len(messages)-1].ID - 1
			} else if more {
				s.first = messages[len(messages)-1].ID + 1
			}
		}
	}
}

// sender writes messages in a format, a portion at a time.
type sender struct {
	to       *echo.Response
	format   format
	shutdown *shutdown
	next     []byte // the portion
	begun    bool
}

func newSender(c echo.Context, format format, shutdown *shutdown) *sender {
	s := &sender{to: c.Response(), format: format, shutdown: shutdown}
	if format == asJSON {
		s.next = append(s.next, `{"messages":[`...)
	}
	return s
}

func (s *sender) addAll(messages []*ent.Message) error {
	for _, m := range messages {
		if err := s.add(m); err != nil {
			return err
		}
	}
	return nil
}

func (s *sender) add(m *ent.Message) error {
	if s.format == asJSON && s.begun {
		s.next = append(s.next, ',')
	}
	s.begun = true
	if s.format == text {
		s.next = views.Message{Message: m}.AppendText(s.next)
	} else {
		s.next = append(views.Message{Message: m}.AppendJSON(s.next), '\n')
	}
	return s.send(portion)
}

func (s *sender) end() error {
	if s.format == asJSON {
		s.next = append(s.next, "]}\n"...)
	}
	return s.send(0)
}

// send sends the portion if it has as many bytes. A client may take any time for all of it, if only it reads each portion in time.
func (s *sender) send(least int) error {
	if len(s.next) < least {
		return nil
	}
	err := s.shutdown.allow(s.to, streamTimeout)
	if err != nil && !errors.Is(err, http.ErrNotSupported) { // as long as nothing has left yet
		return err
	}
	_, err = s.to.Write(s.next)
	s.next = s.next[:0]
	if least > 0 {
		s.to.Flush() // or the first mebibyte would be held in memory for as long as the client takes for the rest
	}
	return err
}
