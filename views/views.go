// Package views renders what a handler found: as an HTML page, as text for a terminal, as JSON, and a list also as an
// Atom feed. A view's type, text and JSON are in a .go file, its page is in the .templ file beside it.
//
// Views are pure: they show only what is in their fields, and use no database and no clock.
package views

import (
	"maps"
	"net/url"

	"github.com/a-h/templ"
)

// View is something to show, in each of the formats that every view has.
type View interface {
	// HTML returns the page. The root is the relative path from the page's address to the application's root,
	// such as "./" or "../", so that links work behind a proxy under any path.
	HTML(root string) templ.Component
	// AppendText appends complete lines, without characters that could control a terminal.
	AppendText(dst []byte) []byte
	// AppendJSON appends one JSON value on one line, without a newline at its end.
	AppendJSON(dst []byte) []byte
}

// Address returns the relative address of the same page with one parameter changed, such as "?limit=10&q=gate".
func Address(query url.Values, name, value string) string {
	changed := url.Values{}
	maps.Copy(changed, query)
	changed.Set(name, value)
	return "?" + changed.Encode()
}
