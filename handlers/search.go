package handlers

import (
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

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
