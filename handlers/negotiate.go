package handlers

import (
	"cmp"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"
)

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
		names = append(names, f.mediaType)
	}
	return refuse(http.StatusNotAcceptable, "This comes as %s.", strings.Join(names, ", "))
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
