package handlers

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"daybook/ent"
	"daybook/views"
)

// maxQuery is how many bytes a search may have.
const maxQuery = 2000

// wordsOf reads which words the address asks for, if it does.
func wordsOf(query url.Values) (views.Words, error) {
	q := query.Get("q")
	if len(q) > maxQuery {
		return nil, refuse(http.StatusBadRequest, "A search has at most %d bytes.", maxQuery)
	}
	if !utf8.ValidString(q) || strings.ContainsRune(q, 0) {
		return nil, refuse(http.StatusBadRequest, "No message contains that: it is not text.")
	}
	return views.NewWords(q), nil
}

// read yields the messages of the span that contain the words, in order.
func read(ctx context.Context, client *ent.Client, s span, order order, words views.Words) iter.Seq2[*ent.Message, error] {
	if len(words) == 0 {
		return s.rows(ctx, client, order)
	}
	return func(yield func(*ent.Message, error) bool) {
		for numbers, err := range candidates(ctx, client, s, order, words) {
			if err != nil {
				yield(nil, err)
				return
			}
			for m, err := range some(ctx, client, numbers, order) {
				if err == nil && !words.In(m.Value) {
					continue
				}
				if !yield(m, err) || err != nil {
					return
				}
			}
		}
	}
}
