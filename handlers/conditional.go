package handlers

import (
	"fmt"
	"hash/maphash"
	"net/http"
	"strings"
)

// seed is random, so nobody can construct two pages with the same tag. A restart makes all tags new.
var seed = maphash.MakeSeed()

// tag returns the entity tag of an answer. A page with a form has another one each time, because its idempotency key is for one
// page only: with the same key in two tabs, the second message would look like the first one sent again.
func tag(body []byte) string {
	return fmt.Sprintf(`W/"%016x"`, maphash.Bytes(seed, body))
}

// unchanged reports whether the client has the answer already, by its tag or else by its date (RFC 9110, section 13.2.2).
func unchanged(r *http.Request, answer http.Header) bool {
	if known := r.Header.Values("If-None-Match"); len(known) > 0 {
		for tag := range strings.SplitSeq(strings.Join(known, ","), ",") {
			tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/")
			if tag == "*" || tag == strings.TrimPrefix(answer.Get("ETag"), "W/") {
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
