package handlers

import (
	"context"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/labstack/echo/v4"

	"daybook/ent"
	"daybook/views"
)

// How many messages a page shows, if the address does not say, and at most.
const (
	pageSize    = 50
	maxPageSize = 1000
)

// maxPageText is how many bytes of text a page holds, unless its first message alone has more. A page is rendered whole, in memory.
const maxPageText = 1 << 20

// page is a part of the book. It is named by the message that it stands beside, not by how many come before it, so that an
// address goes on to show the same messages while others are recorded (a keyset page).
type page struct {
	before *int // it ends before the message with this number
	after  *int // it begins after that one
	limit  int
	words  views.Words // that its messages contain
}

// parameters reads those of the address. One that cannot be read is refused, as without it all would be shown for what was found.
func parameters(c echo.Context) (url.Values, error) {
	query, err := url.ParseQuery(c.Request().URL.RawQuery)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "The address is not percent-encoded: with curl, use -G and --data-urlencode.").SetInternal(err)
	}
	return query, nil
}

// pageOf reads which page the address asks for.
func pageOf(query url.Values) (p page, err error) {
	if p.words, err = wordsOf(query); err != nil {
		return page{}, err
	}
	if p.before, err = number(query, "before", 1, math.MaxInt); err != nil {
		return page{}, err
	}
	if p.after, err = number(query, "after", 0, math.MaxInt-1); err != nil {
		return page{}, err
	}
	if p.before != nil && p.after != nil {
		return page{}, refuse(http.StatusBadRequest, "A page is before a message or after one, not both.")
	}
	limit, err := number(query, "limit", 1, maxPageSize)
	if err != nil {
		return page{}, err
	}
	p.limit = pageSize
	if limit != nil {
		p.limit = *limit
	}
	return p, nil
}

// newest reports whether what is recorded next will be on the page.
func (p page) newest() bool { return p.before == nil && p.after == nil && len(p.words) == 0 }

// number reads a parameter, or returns nil if the address does not have it.
func number(query url.Values, name string, least, most int) (*int, error) {
	if !query.Has(name) {
		return nil, nil
	}
	n, err := strconv.Atoi(query.Get(name))
	if err != nil || n < least || n > most {
		return nil, refuse(http.StatusBadRequest, "%s must be a whole number from %d to %d.", name, least, most)
	}
	return &n, nil
}

// read returns the messages of the page, newest first, and where the next older and newer pages stand: nil if there is none.
func (p page) read(ctx context.Context, client *ent.Client) (messages []*ent.Message, older, newer *int, err error) {
	ahead, order := everything, newestFirst
	behind, back, stands := nothing, oldestFirst, 0
	switch {
	case p.after != nil:
		stands = *p.after + 1
		ahead.first, order = stands, oldestFirst
		behind, back = span{0, *p.after}, newestFirst
	case p.before != nil:
		stands = *p.before - 1
		ahead.last = stands
		behind = span{*p.before, everything.last}
	}
	messages, more, err := ahead.take(ctx, client, order, p.limit, maxPageText, p.words)
	if err != nil {
		return nil, nil, nil, err
	}
	passed, _, err := behind.take(ctx, client, back, 1, maxPageText, p.words)
	if err != nil {
		return nil, nil, nil, err
	}
	if more {
		older = &messages[len(messages)-1].ID
	}
	if len(passed) > 0 {
		newer = &stands
	}
	if p.after != nil {
		slices.Reverse(messages)
		older, newer = newer, older
	}
	return messages, older, newer, nil
}

// beside returns the address of the page that stands there, or nothing.
func beside(query url.Values, side string, stands *int) string {
	if stands == nil {
		return ""
	}
	query = maps.Clone(query)
	query.Del("before")
	query.Del("after")
	return views.Address(query, side, strconv.Itoa(*stands))
}

// link puts the addresses of what is older and newer into the answer's headers (RFC 8288). What comes next in a book that begins
// with the newest is older.
func link(c echo.Context, older, newer string) {
	if older != "" {
		c.Response().Header().Add("Link", "<"+older+`>; rel="next"`)
	}
	if newer != "" {
		c.Response().Header().Add("Link", "<"+newer+`>; rel="prev"`)
	}
}
