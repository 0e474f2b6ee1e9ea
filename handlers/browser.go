package handlers

import (
	"net/http"
	"slices"
	"strings"
)

// fromBrowser reports whether the request shows any sign of a browser or of a prefetch. A browser never records by GET: a typed
// address cannot be told from a link in a mail, nor a link on our page from one in a message.
func fromBrowser(r *http.Request) bool {
	signs := []string{"Origin", "Referer", "Accept-Language", "Sec-Purpose", "Purpose"}
	for name := range r.Header {
		if strings.HasPrefix(name, "Sec-Fetch-") || slices.Contains(signs, name) {
			return true
		}
	}
	accept := strings.ToLower(strings.Join(r.Header.Values("Accept"), ","))
	return strings.Contains(accept, "html") || strings.Contains(accept, "image/")
}
