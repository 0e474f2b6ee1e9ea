package handlers

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"entgo.io/ent/dialect"
	"github.com/labstack/echo/v4"

	"daybook/book"
	"daybook/database"
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
	ctx, from := c.Request().Context(), a.reader(transaction.Client[*ent.Client](c))
	unordered := from.Dialect == dialect.Postgres && (page.forward || format == html && page.newest()) // the client goes on after it
	if unordered && (page.forward || a.horizon.News() || c.Get(unsettled) != nil) {
		if page.upTo, err = a.reader(a.client).UpTo(ctx); err != nil {
			return fmt.Errorf("list messages: %w", err)
		}
		unordered = false
	}
	settled := a.horizon.Settled() // before the snapshot: it may lack what is committed while the page is read
	view, err := page.read(ctx, from, format)
	if err != nil {
		return fmt.Errorf("list messages: %w", err)
	}
	if unordered && len(view.Messages) > 0 {
		if newest := view.Messages[0].ID; newest > settled {
			c.Set(unsettled, true)
			return errUnsettled
		}
	}
	view.Zone = a.zone
	if format == html && view.Newest {
		view.Command = a.command(c)
		if a.permits(c.Request()) {
			view.Key = newKey()
		}
	}
	link(c, view.Older, view.Newer)
	return send(c, http.StatusOK, format, view)
}

// show shows one message.
func (a app) show(c echo.Context) error {
	format, id, err := asked(c)
	if err != nil {
		return err
	}
	ctx, client := c.Request().Context(), transaction.Client[*ent.Client](c)
	found, err := book.Find(ctx, client, id)
	if err != nil {
		return fmt.Errorf("show message %d: %w", id, err)
	}
	view := views.Message{Message: found, Zone: a.zone, Removable: a.showsToken(c.Request())}
	if view.Older, err = book.Messages(client).Where(message.IDLT(id)).Order(book.NewestFirst).FirstID(ctx); ent.MaskNotFound(err) != nil {
		return fmt.Errorf("the message before %d: %w", id, err)
	}
	if view.Newer, err = book.Messages(client).Where(message.IDGT(id)).Order(book.OldestFirst).FirstID(ctx); ent.MaskNotFound(err) != nil {
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
	sent, _, err := fromFields(c.Request().URL.RawQuery)
	if err != nil {
		return err
	}
	if records(c.Request()) {
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
		return refuse(http.StatusUnprocessableEntity, "Nothing is recorded yet. To record: %s", a.command(c))
	}
	return send(c, http.StatusOK, html, views.Form{Value: sent.value, Key: newKey()})
}

// records reports whether a request to /record is to record something, and not only to show the form.
func records(r *http.Request) bool {
	_, found, _ := fromFields(r.URL.RawQuery)
	return r.Method == http.MethodPost || found && r.Method == http.MethodGet && !fromBrowser(r)
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
	if sent.key != "" {
		transaction.Idempotent(c)
	}
	recorded, err := book.Record(c.Request().Context(), transaction.Client[*ent.Client](c), sent.value, sent.key)
	if err != nil {
		return fmt.Errorf("record a message: %w", err)
	}
	a.horizon.Saw(recorded.ID)
	transaction.AfterCommit(c, func(context.Context) error {
		a.hub.Notify()
		return nil
	})
	if format == html {
		c.Response().Header().Add(echo.HeaderVary, "Accept")
		return c.Redirect(http.StatusSeeOther, root(c))
	}
	c.Response().Header().Set(echo.HeaderLocation, fmt.Sprintf("%smessages/%d", root(c), recorded.ID))
	return send(c, http.StatusCreated, format, views.Done{Message: views.Message{Message: recorded, Zone: a.zone}, What: "Recorded"})
}

// unsettled is the key in the context of a request that has failed with errUnsettled.
const unsettled = "unsettled"

// errUnsettled is the error of a page that was read before the order of its messages was settled. It is read again.
var errUnsettled = errors.New("the page has messages whose order is not settled")

// repeatable reports whether a request that failed with the error is to be repeated, in a new transaction. Among those with the same
// key, it then finds what the other one has recorded.
func repeatable(err error) bool {
	return database.IsRepeatable(err) || errors.Is(err, book.ErrSameKey) || errors.Is(err, errUnsettled)
}

// newKey returns an idempotency key for a form, which no other form has.
func newKey() string { return rand.Text() }
