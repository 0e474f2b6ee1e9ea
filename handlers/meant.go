package handlers

import (
	"net/http"
	"strings"
)

// certainlyMeant reports whether a GET that would record was made on purpose: by a command-line client, or by a browser
// whose user typed the address or was led there by a page of ours. Everything else that shows a sign of a browser could
// be an image in another site's page, or a look ahead at a link.
func certainlyMeant(r *http.Request) bool {
	if r.Method != http.MethodGet || present(r, "Sec-Purpose", "Purpose") {
		return false
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "none", "same-origin":
		return true
	}
	return !fromBrowser(r)
}

// fromBrowser reports whether the request shows any sign of a browser.
func fromBrowser(r *http.Request) bool {
	for name := range r.Header {
		if strings.HasPrefix(name, "Sec-Fetch-") {
			return true
		}
	}
	accept := strings.ToLower(strings.Join(r.Header.Values("Accept"), ","))
	return present(r, "Origin", "Referer", "Accept-Language") ||
		strings.Contains(accept, "html") || strings.Contains(accept, "image/")
}

func present(r *http.Request, names ...string) bool {
	for _, name := range names {
		if len(r.Header.Values(name)) > 0 {
			return true
		}
	}
	return false
}
