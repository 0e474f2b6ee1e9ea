// Package views turns what a handler found into what a client is shown: a page of HTML, text for a terminal, or
// JSON. Each view has all three, side by side in two files: messages.go and messages.templ, say.
//
// Views are pure. All that they show is in their fields; they ask no database and no clock.
package views

import "github.com/a-h/templ"

// View is something to show, in each of its forms.
type View interface {
	// HTML returns the page. The root is the relative path from the page's address to the application's root,
	// such as "./" or "../": with it every link is right behind any proxy's prefix.
	HTML(root string) templ.Component
	// AppendText appends what a terminal shows: lines that each end with a newline, with nothing in them that could
	// drive the terminal.
	AppendText(dst []byte) []byte
	// AppendJSON appends what a program gets: one value, on one line without its end.
	AppendJSON(dst []byte) []byte
}
