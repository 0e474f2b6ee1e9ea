package handlers

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"net/http"
	"strings"

	"daybook/views"
)

// seed makes tags that nobody can foresee, and so make two pages that have the same. They are forgotten when the process ends.
var seed = maphash.MakeSeed()

// tag returns the entity tag of a page. It is a weak one: the key of the page's form is different each time, and makes no
// difference to a reader.
func tag(body []byte, view views.View) string {
	var hash maphash.Hash
	hash.SetSeed(seed)
	if list, ok := view.(views.Messages); ok && list.Key != "" {
		before, after, _ := bytes.Cut(body, []byte(list.Key))
		_, _ = hash.Write(before) // it never fails
		body = after
	}
	_, _ = hash.Write(body)
	return fmt.Sprintf(`W/"%016x"`, hash.Sum64())
}

// unchanged reports whether the client has the answer with these headers already, by its tag or else by its date (RFC 9110,
// section 13.2.2).
func unchanged(r *http.Request, answer http.Header) bool {
	if known := r.Header.Values("If-None-Match"); len(known) > 0 {
		for tag := range strings.SplitSeq(strings.Join(known, ","), ",") {
			tag = strings.TrimSpace(tag)
			if tag == "*" || strings.TrimPrefix(tag, "W/") == strings.TrimPrefix(answer.Get("ETag"), "W/") {
				return true
			}
		}
		return false
	}
	since, err := http.ParseTime(r.Header.Get("If-Modified-Since"))
	if err != nil {
		return false
	}
	modified, err := http.ParseTime(answer.Get("Last-Modified"))
	return err == nil && !modified.After(since)
}
