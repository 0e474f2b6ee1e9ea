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
	"unicode/utf8"

	"entgo.io/ent/dialect"
	"entgo.io/ent/dialect/sql"
	"github.com/labstack/echo/v4"

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
	forward bool // the page begins at the span's first message, rather than at its last
	size    int  // messages
	words   views.Words
	query   url.Values
}

// pageOf reads which page the address asks for. It refuses what it cannot read, since that may be the question.
func pageOf(c echo.Context) (page, error) {
	query, err := url.ParseQuery(c.Request().URL.RawQuery)
	if err != nil {
		return page{}, refuse(http.StatusBadRequest,
			"The address is not percent-encoded. With curl, use -G and --data-urlencode.").SetInternal(err)
	}
	q := query.Get("q")
	p := page{forward: query.Has("after"), size: pageSize, words: views.NewWords(q), query: query}
	before, after := everything.last+1, everything.first-1
	err = cmp.Or(
		number(query, "before", 1, before, &before),
		number(query, "after", 0, before-1, &after),
		number(query, "limit", 1, maxPageSize, &p.size),
	)
	p.span = span{after + 1, before - 1}
	switch {
	case err != nil:
		return page{}, err
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

// read reads the page.
func (p page) read(ctx context.Context, client *ent.Client) (view views.Messages, err error) {
	order, behind := newestFirst, span{p.last + 1, everything.last}
	if p.forward {
		order, behind = oldestFirst, span{everything.first, p.first - 1}
	}
	messages, more, err := take(ctx, client, order, p.size, maxPageText, p.contains(p.words)...)
	if err != nil {
		return views.Messages{}, err
	}
	others := false
	if p.span != everything {
		if others, err = client.Message.Query().Where(behind.contains(p.words)...).Exist(ctx); err != nil {
			return views.Messages{}, err
		}
	}
	older, newer := more, others
	if p.forward {
		slices.Reverse(messages)
		older, newer = others, more
	}
	view = views.Messages{Messages: messages, Newest: p.span == everything && len(p.words) == 0, Words: p.words, Query: p.query}
	if n := len(messages); n > 0 {
		p.span = span{messages[n-1].ID, messages[0].ID}
	}
	if older {
		view.Older = p.beside("before", p.first)
	}
	if newer {
		view.Newer = p.beside("after", p.last)
	}
	return view, nil
}

// beside returns the address of the page before or after a message.
func (p page) beside(side string, id int) string {
	query := maps.Clone(p.query)
	query.Del("before")
	query.Del("after")
	return views.Address(query, side, strconv.Itoa(id))
}

// span is the messages with IDs from first to last.
type span struct{ first, last int }

var everything = span{0, math.MaxInt - 1}

// The orders in which messages are read.
var (
	oldestFirst = message.ByID()
	newestFirst = message.ByID(sql.OrderDesc())
)

// contains returns the conditions that a message is in the span and contains the folded words.
func (s span) contains(words []string) (conditions []predicate.Message) {
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

// take returns the first messages that meet the conditions, and reports whether there are more: at most so many, and with so many
// bytes of text, unless the first one alone has more. It does not read the folded value, which is as long as the value.
func take(
	ctx context.Context, client *ent.Client, order message.OrderOption, most, text int, conditions ...predicate.Message,
) (messages []*ent.Message, more bool, err error) {
	query := sql.Dialect(dialect.SQLite).
		Select(message.FieldID, message.FieldValue, message.FieldRecordedAt).
		From(sql.Table(message.Table))
	for _, condition := range conditions {
		condition(query)
	}
	order(query)
	statement, args := query.Query()
	rows, err := client.QueryContext(ctx, statement, args...)
	if err != nil {
		return nil, false, err
	}
	defer rows.Close()
	for size := 0; rows.Next(); {
		var m ent.Message
		if err := rows.Scan(&m.ID, &m.Value, &m.RecordedAt); err != nil {
			return nil, false, err
		}
		size += len(m.Value)
		if len(messages) == most || len(messages) > 0 && size > text {
			return messages, true, nil
		}
		messages = append(messages, &m)
	}
	return messages, false, rows.Err()
}
