package views

import (
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/tools/blog/atom"
)

// Atom returns the messages as a feed (RFC 4287). Its addresses are relative, as on a page. The host is the request's: it makes
// the IDs of different servers' feeds different.
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
	if len(v.Messages) > 0 {
		feed.Updated = atom.Time(v.Messages[0].RecordedAt.UTC())
	}
	for _, m := range v.Messages {
		recordedAt := m.RecordedAt.UTC()
		feed.Entry = append(feed.Entry, &atom.Entry{
			Title:     title(m.Value),
			ID:        urn(recordedAt.Format(time.RFC3339Nano) + " " + m.Value),
			Link:      []atom.Link{{Rel: "alternate", Type: "text/html", Href: messageURL(root, m.ID)}},
			Published: atom.Time(recordedAt),
			Updated:   atom.Time(recordedAt),
			Content:   &atom.Text{Type: "html", Body: feedContent(m.Value)},
		})
	}
	return feed
}

// feedContent returns a message as HTML that needs no style sheet.
func feedContent(value string) string {
	text := textOf(value)
	html := string(Words(nil).markup(text, len(text)))
	if isCode(text) {
		return "<pre>\n" + html + "</pre>"
	}
	return "<p>" + strings.ReplaceAll(html, "\n", "<br>\n") + "</p>"
}

// urn returns an ID that is always the same for the same name (RFC 9562, section 5.5).
func urn(name string) string { return uuid.NewSHA1(uuid.Nil, []byte("daybook "+name)).URN() }
