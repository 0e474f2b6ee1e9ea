package views

import (
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"golang.org/x/tools/blog/atom"

	"daybook/ent"
)

// Atom returns the messages as a feed (RFC 4287). Addresses in it are relative to its own, as on a page; the host is that of
// the request, by which feeds of different books are told apart.
func (v Messages) Atom(root, host string) *atom.Feed {
	feed := &atom.Feed{
		Title:  "Daybook",
		ID:     urn("feed of " + host + "?" + v.Query.Get("q")),
		Author: &atom.Person{Name: "Daybook"},
		Link: []atom.Link{
			{Rel: "self", Type: "application/atom+xml", Href: root + "feed" + Address(v.Query, "format", "atom")},
			{Rel: "alternate", Type: "text/html", Href: root + Address(v.Query, "format", "html")},
		},
		Updated: atom.Time(time.Unix(0, 0).UTC()),
	}
	if v.Newer != "" {
		feed.Link = append(feed.Link, atom.Link{Rel: "previous", Href: v.Newer})
	}
	if v.Older != "" {
		feed.Link = append(feed.Link, atom.Link{Rel: "next", Href: v.Older}) // RFC 5005
	}
	for _, m := range v.Messages {
		feed.Entry = append(feed.Entry, entryOf(m, root))
	}
	if len(v.Messages) > 0 {
		feed.Updated = atom.Time(v.Messages[0].RecordedAt.UTC())
	}
	return feed
}

// entryOf returns a message as an entry of a feed.
func entryOf(m *ent.Message, root string) *atom.Entry {
	recorded := atom.Time(m.RecordedAt.UTC())
	return &atom.Entry{
		Title:     firstLine(m.Value),
		ID:        urn(m.RecordedAt.UTC().Format(time.RFC3339Nano) + " " + m.Value),
		Link:      []atom.Link{{Rel: "alternate", Type: "text/html", Href: messageURL(root, m.ID)}},
		Published: recorded,
		Updated:   recorded,
		Content:   &atom.Text{Type: "text", Body: m.Value},
	}
}

// urn returns a name that is always the same for the same thing, and different for others (RFC 9562, section 5.5).
func urn(thing string) string {
	return uuid.NewSHA1(uuid.Nil, []byte("daybook "+thing)).URN()
}

// maxTitle is how many bytes of a message a feed reader is shown as its title.
const maxTitle = 100

// firstLine returns the beginning of the text.
func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	if len(line) <= maxTitle {
		return line
	}
	line = line[:maxTitle]
	for !utf8.ValidString(line) {
		line = line[:len(line)-1]
	}
	return line + "…"
}
