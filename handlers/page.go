package handlers

import (
	"cmp"
	"context"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"entgo.io/ent/dialect/sql"
	"github.com/labstack/echo/v4"

	"daybook/book"
	"daybook/ent"
	"daybook/ent/message"
	"daybook/ent/predicate"
	"daybook/views"
)

const (
	pageSize    = 50 // messages on a page, unless the address has a limit
	maxPageSize = 1000
	maxPageText = 1 << 20 // bytes on a page, which is rendered whole in memory
	maxSearch   = 2000    // bytes of a search
)

// page is a keyset page: its address names the message beside it, and so shows the same messages while others are recorded.
type page struct {
	span
	day     time.Time // whose messages the page shows; zero for those of all days
	forward bool      // the page begins at the span's first message, rather than at its last
	size    int       // messages
	upTo    int       // the ID of the last message that the page knows of
	words   views.Words
	query   url.Values
}

// pageOf reads which page the address asks for. It refuses what it cannot read, since that may be the question.
func (a app) pageOf(c echo.Context) (page, error) {
	query, err := url.ParseQuery(c.Request().URL.RawQuery)
	if err != nil {
		return page{}, refuse(http.StatusBadRequest,
			"The address is not percent-encoded. With curl, use -G and --data-urlencode.").SetInternal(err)
	}
	q := query.Get("q")
	p := page{forward: query.Has("after"), size: pageSize, upTo: everything.last, words: views.NewWords(q), query: query}
	before, after := everything.last+1, everything.first-1
	err = cmp.Or(
		number(query, "before", 1, before, &before),
		number(query, "after", 0, before-1, &after),
		number(query, "limit", 1, maxPageSize, &p.size),
	)
	p.span = span{after + 1, before - 1}
	on, dayErr := query.Get("on"), error(nil)
	if on != "" { // a form without a day sends it empty
		p.day, dayErr = time.ParseInLocation(time.DateOnly, on, a.zone)
	}
	switch {
	case err != nil:
		return page{}, err
	case dayErr != nil:
		return page{}, refuse(http.StatusBadRequest, "on must be a day, such as 2026-11-20.")
	case p.forward && query.Has("before"):
		return page{}, refuse(http.StatusBadRequest, "A page is before a message or after one, not both.")
	case len(q) > maxSearch:
		return page{}, refuse(http.StatusBadRequest, "A search has at most %d bytes.", maxSearch)
	case !utf8.ValidString(q) || strings.ContainsRune(q, 0):
		return page{}, refuse(http.StatusBadRequest, "A search must be UTF-8 text.")
	}
	return p, nil
}

// number reads a parameter, if the address has it.
func number(query url.Values, name string, least, most int, to *int) error {
	if !query.Has(name) {
		return nil
	}
	n, err := strconv.Atoi(query.Get(name))
	if err != nil || n < least || n > most {
		return refuse(http.StatusBadRequest, "%s must be a whole number from %d to %d.", name, least, most)
	}
	*to = n
	return nil
}

// read reads the page. The page as HTML differs from the others in one address: where the next newer page would hold the newest
// message, it is that of the first page, which has the form and is live.
func (p page) read(ctx context.Context, from reader, format format) (view views.Messages, err error) {
	release, err := from.turn(ctx, p.words) // before the first statement, which takes a connection
	if err != nil {
		return view, err
	}
	defer release()
	view = views.Messages{Newest: p.newest(), Day: p.day, Words: p.words, Query: p.query}
	all, err := p.ofDay(ctx, from.Client, &view)
	if err != nil {
		return view, err
	}
	all.last = min(all.last, p.upTo)
	shown, order := p.and(all), book.NewestFirst
	if p.forward {
		order = book.OldestFirst
	}
	messages, older, err := from.Take(ctx, order, p.size, maxPageText, p.where(shown)...)
	if err != nil {
		return view, err
	}
	if view.Messages = messages; p.forward {
		slices.Reverse(messages)
	}
	newer := p.forward || shown.last < all.last // there may be such messages
	if n := len(messages); n > 0 {
		shown = span{messages[n-1].ID, messages[0].ID}
	}
	if newer {
		n, err := p.count(ctx, from.Client, span{shown.last + 1, all.last})
		if err != nil {
			return view, err
		}
		if n > p.size || n > 0 && format != html {
			view.Newer = p.address("after", strconv.Itoa(shown.last))
		} else if n > 0 {
			view.Newer = p.address("", "")
		}
	}
	if p.forward {
		n, err := p.count(ctx, from.Client, span{all.first, shown.first - 1})
		if err != nil {
			return view, err
		}
		older = n > 0
	}
	if older {
		view.Older = p.address("before", strconv.Itoa(shown.first))
	}
	return view, nil
}

// newest reports whether the page is the first one of all messages, which has the form and is live.
func (p page) newest() bool { return p.span == everything && p.day.IsZero() && len(p.words) == 0 }

// count returns how many messages of the span contain the words, but no more than one more than a page holds.
func (p page) count(ctx context.Context, client *ent.Client, s span) (int, error) {
	ids, err := client.Message.Query().Where(p.where(s)...).Limit(p.size + 1).IDs(ctx)
	return len(ids), err
}

// skew is how much later a message may have been recorded than one with a greater ID: requests run side by side, and the clocks of
// several machines differ.
const skew = time.Minute

// ofDay returns a span that has all messages of the day, and adds the addresses of the days before and after it that have messages.
func (p page) ofDay(ctx context.Context, client *ent.Client, view *views.Messages) (span, error) {
	all := everything
	if p.day.IsZero() {
		return all, nil
	}
	next := p.day.AddDate(0, 0, 1)
	lastBefore := func(t time.Time) (*ent.Message, error) {
		return book.Messages(client).Where(message.RecordedAtLT(t)).Order(message.ByRecordedAt(sql.OrderDesc()), book.NewestFirst).First(ctx)
	}
	firstFrom := func(t time.Time) (*ent.Message, error) {
		return book.Messages(client).Where(message.RecordedAtGTE(t)).Order(message.ByRecordedAt(), book.OldestFirst).First(ctx)
	}
	for _, side := range []struct {
		find func(time.Time) (*ent.Message, error)
		t    time.Time
		use  func(*ent.Message)
	}{
		{lastBefore, p.day.Add(-skew), func(m *ent.Message) { all.first = m.ID + 1 }},
		{firstFrom, next.Add(skew), func(m *ent.Message) { all.last = m.ID - 1 }},
		{lastBefore, p.day, func(m *ent.Message) { view.Older = p.address("on", p.dayOf(m)) }},
		{firstFrom, next, func(m *ent.Message) { view.Newer = p.address("on", p.dayOf(m)) }},
	} {
		found, err := side.find(side.t)
		if ent.MaskNotFound(err) != nil {
			return all, err
		}
		if found != nil {
			side.use(found)
		}
	}
	return all, nil
}

// dayOf returns the day of a message, in the zone of the page's day.
func (p page) dayOf(m *ent.Message) string {
	return m.RecordedAt.In(p.day.Location()).Format(time.DateOnly)
}

// where returns the conditions that a message is in the span and on the page's day, and contains its words.
func (p page) where(s span) []predicate.Message {
	conditions := s.contains(p.words)
	if !p.day.IsZero() {
		conditions = append(conditions, message.RecordedAtGTE(p.day), message.RecordedAtLT(p.day.AddDate(0, 0, 1)))
	}
	return conditions
}

// address returns the address of another page: one that begins beside a message, that of another day, or the first one.
func (p page) address(name, value string) string {
	query := maps.Clone(p.query)
	query.Del("before")
	query.Del("after")
	if name != "" {
		query.Set(name, value)
	}
	if len(query) == 0 {
		return "./"
	}
	return "?" + query.Encode()
}

// span is the messages with IDs from first to last.
type span struct{ first, last int }

var everything = span{0, math.MaxInt - 1}

// and returns the messages that are in both spans.
func (s span) and(other span) span { return span{max(s.first, other.first), min(s.last, other.last)} }

// contains returns the conditions that an entry is a message in the span and contains the folded words.
func (s span) contains(words []string) []predicate.Message {
	conditions := []predicate.Message{message.RemovesIsNil()}
	if s.first > everything.first {
		conditions = append(conditions, message.IDGTE(s.first))
	}
	if s.last < everything.last {
		conditions = append(conditions, message.IDLTE(s.last))
	}
	for _, word := range words {
		conditions = append(conditions, message.FoldedContains(word)) // LIKE, with its wildcards escaped
	}
	return conditions
}
