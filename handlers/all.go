package handlers

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"daybook/ent"
	"daybook/ent/message"
	"daybook/transaction"
	"daybook/views"
)

// portion is how many bytes of the whole book are sent at a time.
const portion = 32 << 10

// all sends every message from one snapshot, one after another, so that it takes no more memory for a large book than for a small
// one. Text and NDJSON have the newest last, JSON has it first, as on a page.
func (b book) all(c echo.Context) error {
	format, err := negotiate(c.Request(), text, asJSON, ndjson)
	if err != nil {
		return err
	}
	order := "ASC"
	if format == asJSON {
		order = "DESC"
	}
	rows, err := transaction.Client[*ent.Client](c).QueryContext(c.Request().Context(), fmt.Sprintf(
		"SELECT %s, %s, %s FROM %s ORDER BY %s %s",
		message.FieldID, message.FieldValue, message.FieldRecordedAt, message.Table, message.FieldID, order))
	if err != nil {
		return fmt.Errorf("send all messages: %w", err)
	}
	defer rows.Close()
	announce(c, format, http.StatusOK)
	if c.Request().Method == http.MethodHead {
		return c.NoContent(http.StatusOK)
	}
	if err := sendRows(newSender(c, format), rows); err != nil {
		return fmt.Errorf("send all messages: %w", err)
	}
	return nil
}

// sendRows sends a message for each row. Where the rows end by an error, the answer gets no end.
func sendRows(s *sender, rows *sql.Rows) error {
	for rows.Next() {
		var m ent.Message
		if err := rows.Scan(&m.ID, &m.Value, &m.RecordedAt); err != nil {
			return err
		}
		if err := s.add(&m); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return s.end()
}

// sender writes messages in a format, a portion at a time.
type sender struct {
	to      *echo.Response
	format  format
	next    bytes.Buffer // the portion
	encoder *json.Encoder
	begun   bool
}

func newSender(c echo.Context, format format) *sender {
	s := &sender{to: c.Response(), format: format}
	s.encoder = json.NewEncoder(&s.next)
	s.encoder.SetEscapeHTML(false)
	if format == asJSON {
		s.next.WriteString(`{"messages":[`)
	}
	return s
}

func (s *sender) add(m *ent.Message) error {
	view := views.Message{Message: m}
	if s.format == text {
		s.next.Write(view.AppendText(s.next.AvailableBuffer()))
		return s.send(portion)
	}
	if s.format == asJSON && s.begun {
		s.next.WriteByte(',')
	}
	s.begun = true
	if err := s.encoder.Encode(view.JSON()); err != nil {
		return err
	}
	return s.send(portion)
}

func (s *sender) end() error {
	if s.format == asJSON {
		s.next.WriteString("]}\n")
	}
	return s.send(0)
}

// send sends the portion if it has as many bytes. A client may take any time for all of it, if only it goes on.
func (s *sender) send(least int) error {
	if s.next.Len() < least {
		return nil
	}
	err := http.NewResponseController(s.to).SetWriteDeadline(time.Now().Add(writeTimeout))
	if err != nil && !errors.Is(err, http.ErrNotSupported) { // as long as nothing has left yet
		return err
	}
	_, err = s.to.Write(s.next.Bytes())
	s.next.Reset()
	return err
}
