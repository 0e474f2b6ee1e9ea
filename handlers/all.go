package handlers

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"

	"daybook/ent"
	"daybook/transaction"
	"daybook/views"
)

// portion is how many bytes of the whole book are sent at a time.
const portion = 32 << 10

// all sends every message, or every one that contains the words, from one snapshot, one after another, so that it takes no more
// memory for a large book than for a small one. Text and NDJSON have the newest last, JSON has it first, as on a page.
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
	order := oldestFirst
	if format == asJSON {
		order = newestFirst
	}
	s := newSender(c, format, b.shutdown)
	for m, err := range everything.rows(c.Request().Context(), transaction.Client[*ent.Client](c), order, words...) {
		if err == nil {
			err = s.add(m)
		}
		if err != nil {
			return fmt.Errorf("send all messages: %w", err) // and the answer gets no end
		}
	}
	return s.end()
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

// send sends the portion if it has as many bytes. A client may take any time for all of it, if only it goes on.
func (s *sender) send(least int) error {
	if len(s.next) < least {
		return nil
	}
	err := s.shutdown.allow(s.to, writeTimeout)
	if err != nil && !errors.Is(err, http.ErrNotSupported) { // as long as nothing has left yet
		return err
	}
	_, err = s.to.Write(s.next)
	s.next = s.next[:0]
	return err
}
