package handlers

import (
	"context"

	"golang.org/x/sync/semaphore"

	"daybook/book"
	"daybook/ent"
	"daybook/views"
)

// reader reads messages, many of them only in turn.
type reader struct {
	book.Reader
	bulk *semaphore.Weighted // turns of reading many messages
}

// reader returns what reads messages with the client.
func (a app) reader(client *ent.Client) reader {
	return reader{book.Reader{Client: client, Dialect: a.driver.Dialect(), Horizon: a.horizon, Largest: a.maxMessage}, a.bulk}
}

// turn waits for a turn to search, if there are words to search for. Its caller must not hold a connection to the database.
func (r reader) turn(ctx context.Context, words views.Words) (release func(), err error) {
	if len(words) == 0 {
		return func() {}, nil
	}
	return func() { r.bulk.Release(1) }, takeTurn(ctx, r.bulk, 1)
}
