package handlers

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"daybook/ent"
	"daybook/ent/message"
	"daybook/transaction"
	"daybook/views"
)

// list shows a page of messages: the newest, unless the address names another.
func (a app) list(c echo.Context) error {
	if c.QueryParams().Has("all") {
		return a.all(c)
	}
	format, err := negotiate(c, listFormats...)
	if err != nil {
		return err
	}
	return a.page(c, format)
}

// feed shows a page of messages to a feed reader, whatever it accepts.
func (a app) feed(c echo.Context) error { return a.page(c, atom) }

// page shows the page of messages that the address names.
func (a app) page(c echo.Context, format format) error {
	page, err := a.pageOf(c)
	if err != nil {
		return err
	}
	view, err := page.read(c.Request().Context(), transaction.Client[*ent.Client](c), format)
	if err != nil {
		return fmt.Errorf("list messages: %w", err)
	}
	view.Zone = a.zone
	if format == html && view.Newest { // the page with the form
		view.Key, view.Command = newKey(), command(c)
	}
	link(c, view.Older, view.Newer)
	return send(c, http.StatusOK, format, view)
}

// show shows one message.
func (a app) show(c echo.Context) error {
	format, err := negotiate(c, formats...)
	if err != nil {
		return err
	}
	ctx, messages := c.Request().Context(), transaction.Client[*ent.Client](c).Message
	id, _ := strconv.Atoi(c.Param("id")) // 0 if it is not a number, and no message has that
	found, err := messages.Get(ctx, id)
	if ent.IsNotFound(err) {
		return refuse(http.StatusNotFound, "There is no message %s.", c.Param("id"))
	}
	if err != nil {
		return fmt.Errorf("show message %d: %w", id, err)
	}
	view := views.Message{Message: found, Zone: a.zone}
	if view.Older, err = messages.Query().Where(message.IDLT(id)).Order(newestFirst).FirstID(ctx); ent.MaskNotFound(err) != nil {
		return fmt.Errorf("the message before %d: %w", id, err)
	}
	if view.Newer, err = messages.Query().Where(message.IDGT(id)).Order(oldestFirst).FirstID(ctx); ent.MaskNotFound(err) != nil {
		return fmt.Errorf("the message after %d: %w", id, err)
	}
	link(c, view.OlderURL(root(c)), view.NewerURL(root(c)))
	if format != html { // a page also shows its neighbours, which change
		c.Response().Header().Set(echo.HeaderLastModified, found.RecordedAt.UTC().Format(http.TimeFormat))
	}
	return send(c, http.StatusOK, format, view)
}

// record records the message in the body.
func (a app) record(c echo.Context) error {
	// The whole body first: a client that sends slowly must not hold the writer.
	sent, err := readSubmission(c.Request())
	if err != nil {
		return err
	}
	return a.keep(c, sent)
}

// recordByAddress records the message in the address for a command-line client, as the recipe has it. Others get the form,
// filled in.
func (a app) recordByAddress(c echo.Context) error {
	c.Response().Header().Set("Cache-Control", "no-store")
	sent, found, err := fromFields(c.Request().URL.RawQuery)
	if err != nil {
		return err
	}
	if found && c.Request().Method == http.MethodGet && !fromBrowser(c.Request()) {
		if sent, err = sent.withKeyOf(c.Request()); err != nil {
			return err
		}
		return a.keep(c, sent)
	}
	format, err := negotiate(c, formats...)
	if err != nil {
		return err
	}
	if format != html {
		return refuse(http.StatusUnprocessableEntity, "Nothing is recorded yet. To record: %s", command(c))
	}
	return send(c, http.StatusOK, html, views.Form{Value: sent.value, Key: newKey()})
}

// fromBrowser reports whether the request shows any sign of a browser or of a prefetch. A browser never records by GET: a typed
// address cannot be told from a link in a mail, nor a link on our page from one in a message.
func fromBrowser(r *http.Request) bool {
	signs := []string{"Origin", "Referer", "Accept-Language", "Sec-Purpose", "Purpose"}
	for name := range r.Header {
		if strings.HasPrefix(name, "Sec-Fetch-") || slices.Contains(signs, name) {
			return true
		}
	}
	accept := strings.ToLower(strings.Join(r.Header.Values("Accept"), ","))
	return strings.Contains(accept, "html") || strings.Contains(accept, "image/")
}

// keep stores the message and answers that it is recorded.
func (a app) keep(c echo.Context, sent submission) error {
	if len(sent.value) > a.maxMessage {
		return refuse(http.StatusRequestEntityTooLarge, "The message has %d bytes, more than the %d that are allowed.",
			len(sent.value), a.maxMessage)
	}
	format, err := negotiate(c, formats...)
	if err != nil {
		return err
	}
	recorded, err := sent.once(c.Request().Context(), transaction.Client[*ent.Client](c))
	if err != nil {
		return fmt.Errorf("record a message: %w", err)
	}
	transaction.AfterCommit(c, func(context.Context) error {
		a.hub.Notify()
		return nil
	})
	if format == html {
		c.Response().Header().Add(echo.HeaderVary, "Accept")
		return c.Redirect(http.StatusSeeOther, root(c))
	}
	c.Response().Header().Set(echo.HeaderLocation, fmt.Sprintf("%smessages/%d", root(c), recorded.ID))
	return send(c, http.StatusCreated, format, views.Recorded{Message: views.Message{Message: recorded, Zone: a.zone}})
}

// once stores the message, unless it was stored with the same key before. One transaction does both, so of two requests at the
// same moment one sees what the other has stored.
func (s submission) once(ctx context.Context, client *ent.Client) (*ent.Message, error) {
	create := client.Message.Create().SetValue(s.value)
	if s.key == "" {
		return create.Save(ctx)
	}
	first, err := client.Message.Query().Where(message.IdempotencyKey(s.key)).Only(ctx)
	if ent.IsNotFound(err) {
		return create.SetIdempotencyKey(s.key).Save(ctx)
	}
	if err == nil && first.Value != s.value {
		return nil, refuse(http.StatusUnprocessableEntity,
			"Another message was recorded with the same key. To record this one, too, use a new key.")
	}
	return first, err
}

// newKey returns an idempotency key for a form, which no other form has.
func newKey() string { return rand.Text() }
