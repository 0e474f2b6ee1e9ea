package handlers

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"
)

// format is a form in which answers come.
type format struct {
	name      string // what ?format= calls it
	mediaType string
}

var (
	text   = format{"text", echo.MIMETextPlain}
	html   = format{"html", echo.MIMETextHTML}
	asJSON = format{"json", echo.MIMEApplicationJSON}
	ndjson = format{"ndjson", "application/x-ndjson"} // an object a line
	atom   = format{"atom", "application/atom+xml"}
)

// What answers come as, in the order in which they are given to a client to which all are alike.
var (
	formats     = []format{text, html, asJSON, ndjson}
	listFormats = append(slices.Clip(formats), atom)
	allFormats  = []format{text, asJSON, ndjson}
)

// negotiate chooses the format of the answer: the one that the address names, or the one that the Accept header
// prefers, or the first.
func negotiate(r *http.Request, formats ...format) (format, error) {
	if query := r.URL.Query(); query.Has("format") {
		for _, f := range formats {
			if f.name == query.Get("format") {
				return f, nil
			}
		}
		return format{}, notAcceptable(formats)
	}
	accept := strings.Join(r.Header.Values("Accept"), ",")
	if strings.TrimSpace(accept) == "" {
		return formats[0], nil
	}
	ranges := parseAccept(accept)
	var best format
	var most preference
	for _, f := range formats {
		if p := ranges.preferenceFor(f.mediaType); p.quality > most.quality ||
			p.quality == most.quality && p.position < most.position {
			best, most = f, p
		}
	}
	if most.quality == 0 {
		return format{}, notAcceptable(formats)
	}
	return best, nil
}

func notAcceptable(formats []format) error {
	var names []string
	for _, f := range formats {
		names = append(names, f.mediaType)
	}
	return refuse(http.StatusNotAcceptable, "This comes as %s.", strings.Join(names, ", "))
}

// mediaRange is one element of an Accept header (RFC 9110, section 12.5.1).
type mediaRange struct {
	pattern string // "text/html", "text/*" or "*/*"
	quality float64
}

type mediaRanges []mediaRange

// preference is how much a client wants a media type: the higher quality, then the earlier position.
type preference struct {
	quality  float64
	position int
}

// parseAccept reads an Accept header. A quality that is no number counts as 1, as if it were not there.
func parseAccept(header string) mediaRanges {
	var ranges mediaRanges
	for element := range strings.SplitSeq(header, ",") {
		pattern, params, _ := strings.Cut(element, ";")
		r := mediaRange{pattern: strings.ToLower(strings.TrimSpace(pattern)), quality: 1}
		for param := range strings.SplitSeq(params, ";") {
			name, value, _ := strings.Cut(strings.TrimSpace(param), "=")
			if q, err := strconv.ParseFloat(value, 64); err == nil && strings.EqualFold(name, "q") {
				r.quality = q
			}
		}
		ranges = append(ranges, r)
	}
	return ranges
}

// preferenceFor returns what the most specific range that fits the media type says of it.
func (ranges mediaRanges) preferenceFor(mediaType string) preference {
	family, _, _ := strings.Cut(mediaType, "/")
	for _, pattern := range []string{mediaType, family + "/*", "*/*"} {
		for position, r := range ranges {
			if r.pattern == pattern {
				return preference{r.quality, position}
			}
		}
	}
	return preference{}
}
