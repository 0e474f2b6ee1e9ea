package handlers

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"daybook/ent"
	"daybook/ent/message"
	"daybook/transaction"
	"daybook/views"
)

// list shows a page of messages: the newest, if the address names no other.
func (b book) list(c echo.Context) error {
	if c.QueryParams().Has("all") {
		return b.all(c)
	}
	view, err := b.page(c)
	if err != nil {
		return err
	}
	return answer(c, view, listFormats)
}

// feed shows a page of messages to a feed reader, whatever that says it accepts.
func (b book) feed(c echo.Context) error {
	view, err := b.page(c)
	if err != nil {
		return err
	}
	return send(c, http.StatusOK, atom, view)
}

// page reads the page of messages that the address names.
func (b book) page(c echo.Context) (views.Messages, error) {
	query, err := parameters(c)
	if err != nil {
		return views.Messages{}, err
	}
	page, err := pageOf(query)
	if err != nil {
		return views.Messages{}, err
	}
	messages, older, newer, err := page.read(c.Request().Context(), transaction.Client[*ent.Client](c))
	if err != nil {
		return views.Messages{}, fmt.Errorf("list messages: %w", err)
	}
	view := views.Messages{
		Messages: messages,
		Newest:   page.newest(),
		Older:    beside(query, "before", older),
		Newer:    beside(query, "after", newer),
		Words:    page.words,
		Query:    query,
		Zone:     b.zone,
		Key:      newKey(),
		Command:  command(c),
	}
	link(c, view.Older, view.Newer)
	return view, nil
}

// show shows one message.
func (b book) show(c echo.Context) error {
	missing := refuse(http.StatusNotFound, "There is no message %s.", c.Param("id"))
	id, err := strconv.Atoi(c.Param("id"))
	if err != nil {
		return missing
	}
	ctx, client := c.Request().Context(), transaction.Client[*ent.Client](c)
	found, err := client.Message.Get(ctx, id)
	if ent.IsNotFound(err) {
		return missing
	}
	if err != nil {
		return fmt.Errorf("show message %d: %w", id, err)
	}
	view := views.Message{Message: found, Zone: b.zone}
	if view.Older, err = client.Message.Query().Where(message.IDLT(id)).Order(ent.Desc(message.FieldID)).FirstID(ctx); ent.MaskNotFound(err) != nil {
		return fmt.Errorf("the message before %d: %w", id, err)
	}
	if view.Newer, err = client.Message.Query().Where(message.IDGT(id)).Order(ent.Asc(message.FieldID)).FirstID(ctx); ent.MaskNotFound(err) != nil {
		return fmt.Errorf("the message after %d: %w", id, err)
	}
	link(c, view.OlderURL(root(c)), view.NewerURL(root(c)))
	format, err := negotiate(c.Request(), formats...)
	if err != nil {
		return err
	}
	if format != html { // which shows the neighbours as well, and they change
		c.Response().Header().Set(echo.HeaderLastModified, found.RecordedAt.UTC().Format(http.TimeFormat))
	}
	return send(c, http.StatusOK, format, view)
}

// record records the message that the body holds.
func (b book) record(c echo.Context) error {
	// The whole body first: a client that sends slowly must not keep the writer waiting.
	sent, err := readSubmission(c.Request())
	if err != nil {
		return err
	}
	return b.keep(c, sent)
}

// recordByAddress records the message that the address holds, as the recipe has it, for a command-line client. Others get the
// form, filled in.
func (b book) recordByAddress(c echo.Context) error {
	c.Response().Header().Set("Cache-Control", "no-store")
	sent, found, err := fromFields(c.Request().URL.RawQuery)
	if err != nil {
		return err
	}
	if found && c.Request().Method == http.MethodGet && !fromBrowser(c.Request()) {
		if sent, err = sent.withKeyOf(c.Request()); err != nil {
			return err
		}
		return b.keep(c, sent)
	}
	format, err := negotiate(c.Request(), formats...)
	if err != nil {
		return err
	}
	if format != html {
		return refuse(http.StatusUnprocessableEntity, "Nothing is recorded yet. To record: %s", command(c))
	}
	return send(c, http.StatusOK, html, views.Form{Value: sent.value, Key: newKey()})
}

// keep stores the message and says so.
func (b book) keep(c echo.Context, sent submission) error {
	// Should anything go wrong from here on, until the commit even, the form comes back with it.
	c.Set(typed, sent.value)
	if len(sent.value) > b.maxMessage {
		return refuse(http.StatusRequestEntityTooLarge, "The message has %d bytes, more than the %d that are allowed.",
			len(sent.value), b.maxMessage)
	}
	format, err := negotiate(c.Request(), formats...)
	if err != nil {
		return err
	}
	recorded, err := sent.once(c.Request().Context(), transaction.Client[*ent.Client](c))
	if err != nil {
		return fmt.Errorf("record a message: %w", err)
	}
	transaction.AfterCommit(c, func(context.Context) error {
		b.hub.Notify()
		return nil
	})
	if format == html {
		c.Response().Header().Add(echo.HeaderVary, "Accept")
		return c.Redirect(http.StatusSeeOther, root(c))
	}
	c.Response().Header().Set(echo.HeaderLocation, fmt.Sprintf("%smessages/%d", root(c), recorded.ID))
	return send(c, http.StatusCreated, format, views.Recorded{Message: views.Message{Message: recorded, Zone: b.zone}})
}

// once stores the message, unless it has been stored with the same key before. That is in the same transaction, so of two
// requests that come at the same moment one sees what the other has stored.
func (s submission) once(ctx context.Context, client *ent.Client) (*ent.Message, error) {
	if s.key == "" {
		return client.Message.Create().SetValue(s.value).Save(ctx)
	}
	first, err := client.Message.Query().Where(message.IdempotencyKey(s.key)).Only(ctx)
	if ent.IsNotFound(err) {
		return client.Message.Create().SetValue(s.value).SetIdempotencyKey(s.key).Save(ctx)
	}
	if err == nil && first.Value != s.value {
		err = refuse(http.StatusUnprocessableEntity,
			"Another message was recorded with the same key. If this one is meant as well, record it again, with a new key.")
	}
	return first, err
}

// newKey returns a key for a form, which nobody else has.
func newKey() string { return rand.Text() }
