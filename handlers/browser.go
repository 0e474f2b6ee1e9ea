package handlers

import (
	"net/http"
	"strings"
)

// fromBrowser reports whether the request shows any sign of a browser, or of looking ahead at a link. A browser never records by
// GET: an address that was typed cannot be told from a link in a mail, nor a link in a page of ours from one in a message.
func fromBrowser(r *http.Request) bool {
	for name := range r.Header {
		if strings.HasPrefix(name, "Sec-Fetch-") {
			return true
		}
	}
	for _, name := range []string{"Origin", "Referer", "Accept-Language", "Sec-Purpose", "Purpose"} {
		if len(r.Header.Values(name)) > 0 {
			return true
		}
	}
	accept := strings.ToLower(strings.Join(r.Header.Values("Accept"), ","))
	return strings.Contains(accept, "html") || strings.Contains(accept, "image/")
}
