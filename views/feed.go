package views

import (
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/tools/blog/atom"
)

// maxTitle is how many bytes of a message a feed reader shows as its title.
const maxTitle = 100

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
		title, _, _ := strings.Cut(strings.TrimSpace(m.Value), "\n")
		if len(title) > maxTitle {
			title = strings.ToValidUTF8(title[:maxTitle], "") + "…" // without a part of a character at the end
		}
		recordedAt := m.RecordedAt.UTC()
		feed.Entry = append(feed.Entry, &atom.Entry{
			Title:     title,
			ID:        urn(recordedAt.Format(time.RFC3339Nano) + " " + m.Value),
			Link:      []atom.Link{{Rel: "alternate", Type: "text/html", Href: messageURL(root, m.ID)}},
			Published: atom.Time(recordedAt),
			Updated:   atom.Time(recordedAt),
			Content:   &atom.Text{Type: "text", Body: m.Value},
		})
	}
	return feed
}

// urn returns an ID that is always the same for the same name (RFC 9562, section 5.5).
func urn(name string) string { return uuid.NewSHA1(uuid.Nil, []byte("daybook "+name)).URN() }
