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
	"daybook/ent/message"
	"daybook/views"
)

// How many messages a page shows, if the address does not say, and at most.
const (
	pageSize    = 50
	maxPageSize = 1000
)

// page is a part of the book. It is named by the message that it stands beside, not by how many come before it, so that an
// address goes on to show the same messages while others are recorded (a keyset page).
type page struct {
	before *int // it ends before the message with this number
	after  *int // it begins after that one
	limit  int
}

// pageOf reads which page the address asks for.
func pageOf(query url.Values) (p page, err error) {
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
	query := client.Message.Query().Limit(p.limit + 1) // one more tells whether there are more
	switch {
	case p.after != nil:
		query.Where(message.IDGT(*p.after)).Order(ent.Asc(message.FieldID))
	case p.before != nil:
		query.Where(message.IDLT(*p.before)).Order(ent.Desc(message.FieldID))
	default:
		query.Order(ent.Desc(message.FieldID))
	}
	if messages, err = query.All(ctx); err != nil {
		return nil, nil, nil, err
	}
	behind, err := p.behind(ctx, client)
	if err != nil {
		return nil, nil, nil, err
	}
	var ahead *int
	if len(messages) > p.limit {
		messages = messages[:p.limit]
		ahead = &messages[p.limit-1].ID
	}
	if p.after != nil {
		slices.Reverse(messages)
		return messages, behind, ahead, nil
	}
	return messages, ahead, behind, nil
}

// behind returns where the page stands that ends where this one begins, if there is one.
func (p page) behind(ctx context.Context, client *ent.Client) (*int, error) {
	var stands int
	query := client.Message.Query()
	switch {
	case p.after != nil:
		stands = *p.after + 1
		query.Where(message.IDLT(stands))
	case p.before != nil:
		stands = *p.before - 1
		query.Where(message.IDGT(stands))
	default:
		return nil, nil
	}
	if exists, err := query.Exist(ctx); err != nil || !exists {
		return nil, err
	}
	return &stands, nil
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
