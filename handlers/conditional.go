package handlers

import (
	"fmt"
	"hash/maphash"
	"net/http"
	"strings"
)

// seed makes tags that nobody can foresee, and so make two pages that have the same. They are forgotten when the process ends.
var seed = maphash.MakeSeed()

// tag returns the entity tag of an answer. Each page with a form has another one, because its key is for that page alone: two tabs
// that had the same, one of them out of the browser's cache, would take each other's message for their own, sent again.
func tag(body []byte) string {
	return fmt.Sprintf(`W/"%016x"`, maphash.Bytes(seed, body))
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
