package handlers

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"fmt"
	"hash/maphash"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/a-h/templ"
	"github.com/labstack/echo/v4"

	"daybook/static"
	"daybook/views"
)

// send renders the whole view, and only then begins to answer.
func send(c echo.Context, status int, format format, view views.View) error {
	body := templ.GetBuffer() // reused: growing a new one costs more than a short page
	defer templ.ReleaseBuffer(body)
	if err := render(c, body, format, view); err != nil {
		return fmt.Errorf("render: %w", err)
	}
	announce(c, format, status)
	if status == http.StatusOK && slices.Contains(read, c.Request().Method) {
		c.Response().Header().Set("ETag", tag(body.Bytes()))
		if unchanged(c.Request(), c.Response().Header()) {
			return c.NoContent(http.StatusNotModified)
		}
	}
	c.Response().WriteHeader(status)
	_, err := c.Response().Write(body.Bytes())
	return err
}

// seed is random, so nobody can construct two pages with the same tag. A restart makes all tags new.
var seed = maphash.MakeSeed()

// tag returns the entity tag of an answer. A page with a form has another one each time, because its idempotency key is for one
// page only: with the same key in two tabs, the second message would look like the first one sent again.
func tag(body []byte) string { return fmt.Sprintf(`W/"%016x"`, maphash.Bytes(seed, body)) }

// unchanged reports whether the client has the answer already, by its tag or else by its date (RFC 9110, section 13.2.2).
func unchanged(r *http.Request, answer http.Header) bool {
	known := r.Header.Values("If-None-Match")
	for tag := range strings.SplitSeq(strings.Join(known, ","), ",") {
		tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/")
		if tag == "*" || tag == strings.TrimPrefix(answer.Get("ETag"), "W/") {
			return true
		}
	}
	since, err := http.ParseTime(r.Header.Get("If-Modified-Since"))
	modified, modifiedErr := http.ParseTime(answer.Get(echo.HeaderLastModified))
	return known == nil && err == nil && modifiedErr == nil && !modified.After(since)
}

// render renders the view in the format.
func render(c echo.Context, body *bytes.Buffer, format format, view views.View) error {
	list, isList := view.(views.Messages)
	switch {
	case format == html:
		return view.HTML(root(c)).Render(c.Request().Context(), body)
	case format == atom && isList:
		body.WriteString(xml.Header)
		return xml.NewEncoder(body).Encode(list.Atom(root(c), c.Request().Host))
	case format == ndjson && isList:
		for _, m := range slices.Backward(list.Messages) { // the newest last, as in text
			body.Write(appendView(body.AvailableBuffer(), format, views.Message{Message: m}))
		}
	default:
		body.Write(appendView(body.AvailableBuffer(), format, view))
	}
	return nil
}

// appendView appends the view as text or as a line of JSON.
func appendView(dst []byte, format format, view views.View) []byte {
	if format == asJSON || format == ndjson {
		return append(view.AppendJSON(dst), '\n')
	}
	return view.AppendText(dst)
}

// announce sets the headers that depend on the format of the answer.
func announce(c echo.Context, format format, status int) {
	contentType := format.mediaType
	if status >= http.StatusBadRequest && (format == asJSON || format == ndjson) {
		contentType = "application/problem+json"
	}
	c.Response().Header().Set(echo.HeaderContentType, contentType+"; charset=utf-8")
	c.Response().Header().Add(echo.HeaderVary, "Accept")
}

// link adds the addresses of the older and the newer page to the headers (RFC 8288). A list that begins with the newest goes on
// with older messages.
func link(c echo.Context, older, newer string) {
	if older != "" {
		c.Response().Header().Add("Link", "<"+older+`>; rel="next"`)
	}
	if newer != "" {
		c.Response().Header().Add("Link", "<"+newer+`>; rel="prev"`)
	}
}

// root returns the relative path from the request's address to the application's root. Every link and redirect begins with it,
// so they are right behind a proxy that serves the application under a prefix.
func root(c echo.Context) string {
	depth := strings.Count(c.Request().URL.EscapedPath(), "/") - 1
	return cmp.Or(strings.Repeat("../", max(0, depth)), "./")
}

// command returns the command line that records a message here. With -n, curl takes the token from ~/.netrc.
func (a app) command(c echo.Context) string {
	scheme, netrc := "", ""
	if c.Scheme() == "https" {
		scheme = "https://"
	}
	if a.access.Token != "" {
		netrc = "-n "
	}
	return fmt.Sprintf("curl %s-d 'hello world' %s%s/record", netrc, scheme, c.Request().Host)
}

// healthz answers that the process runs. It does not ask the database.
func healthz(c echo.Context) error { return c.String(http.StatusOK, "ok\n") }

// robots keeps crawlers from the address that records.
func robots(c echo.Context) error {
	return c.String(http.StatusOK, "User-agent: *\nDisallow: /record\n")
}

// staticFile serves an embedded file, which clients may cache for ever: its name changes with its content.
func staticFile(c echo.Context) error {
	file, ok := static.Lookup(c.Param("name"))
	if !ok {
		return echo.ErrNotFound
	}
	c.Response().Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	c.Response().Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; sandbox") // the icon has a style
	return c.Blob(http.StatusOK, file.ContentType, file.Content)
}

// format is a form in which answers come.
type format struct {
	name      string // in ?format=
	mediaType string
}

var (
	text   = format{"text", echo.MIMETextPlain}
	html   = format{"html", echo.MIMETextHTML}
	asJSON = format{"json", echo.MIMEApplicationJSON}
	ndjson = format{"ndjson", "application/x-ndjson"} // an object a line
	atom   = format{"atom", "application/atom+xml"}
)

// The formats of most answers, and of a list. The first one is for clients that accept anything.
var (
	formats     = []format{text, html, asJSON, ndjson}
	listFormats = []format{text, html, asJSON, ndjson, atom}
)

// negotiate chooses the format of the answer: the one that the address names, or the one that the Accept header prefers.
func negotiate(c echo.Context, formats ...format) (format, error) {
	if c.QueryParams().Has("format") {
		for _, f := range formats {
			if f.name == c.QueryParam("format") {
				return f, nil
			}
		}
		return format{}, notAcceptable(formats)
	}
	accept := strings.Join(c.Request().Header.Values(echo.HeaderAccept), ",")
	if strings.TrimSpace(accept) == "" {
		return formats[0], nil
	}
	ranges := parseAccept(accept)
	for _, r := range ranges {
		for _, f := range formats {
			if r.quality > 0 && mostSpecific(ranges, f.mediaType) == r {
				return f, nil
			}
		}
	}
	return format{}, notAcceptable(formats)
}

func notAcceptable(formats []format) error {
	var names []string
	for _, f := range formats {
		names = append(names, f.name+" ("+f.mediaType+")")
	}
	return refuse(http.StatusNotAcceptable, "The formats of this address are %s.", strings.Join(names, ", "))
}

// mediaRange is an element of an Accept header (RFC 9110, section 12.5.1).
type mediaRange struct {
	pattern string // "text/html", "text/*" or "*/*"
	quality float64
}

// parseAccept parses an Accept header. It returns what the client prefers first: of two with the same quality, the one that it
// wrote first. A quality that is not a number counts as 1, as if it were missing.
func parseAccept(header string) (ranges []mediaRange) {
	for element := range strings.SplitSeq(header, ",") {
		pattern, params, _ := mime.ParseMediaType(element)
		quality, err := strconv.ParseFloat(params["q"], 64)
		if err != nil {
			quality = 1
		}
		ranges = append(ranges, mediaRange{pattern, quality})
	}
	slices.SortStableFunc(ranges, func(a, b mediaRange) int { return cmp.Compare(b.quality, a.quality) })
	return ranges
}

// mostSpecific returns the most specific of the ranges that include the media type.
func mostSpecific(ranges []mediaRange, mediaType string) mediaRange {
	family, _, _ := strings.Cut(mediaType, "/")
	for _, pattern := range []string{mediaType, family + "/*", "*/*"} {
		if i := slices.IndexFunc(ranges, func(r mediaRange) bool { return r.pattern == pattern }); i >= 0 {
			return ranges[i]
		}
	}
	return mediaRange{}
}
