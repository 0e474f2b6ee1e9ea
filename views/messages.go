package views

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/a-h/templ"

	"daybook/ent"
)

// Message shows one message.
type Message struct {
	Message   *ent.Message
	Older     int            // the ID of the message before it, or 0
	Newer     int            // the ID of the message after it, or 0
	Removable bool           // by the one who looks at it
	Zone      *time.Location // of the day and the time on the page
}

// OlderURL returns the address of the message before it, or "".
func (v Message) OlderURL(root string) string { return messageURL(root, v.Older) }

// NewerURL returns the address of the message after it, or "".
func (v Message) NewerURL(root string) string { return messageURL(root, v.Newer) }

// messageURL returns the address of a message's own page, or "" for the ID 0, which no message has.
func messageURL(root string, id int) string {
	if id == 0 {
		return ""
	}
	return root + "messages/" + strconv.Itoa(id)
}

// removalURL returns the address of the page that asks whether to remove a message, and of its form.
func removalURL(root string, id int) string { return messageURL(root, id) + "/delete" }

// inListURL returns the address of a message in the list, in the middle of a page, which has 50 messages.
func inListURL(root string, id int) string {
	return fmt.Sprintf("%s?before=%d#message-%d", root, id+25, id)
}

// The forms of days and of times.
const (
	dayFormat   = "Monday, 2 January 2006"
	clockFormat = "15:04:05"
)

// zoneName returns the abbreviation of the zone of a time, or "UTC+05:30" if it has none.
func zoneName(at time.Time) string {
	name, _ := at.Zone()
	if name == "" || name[0] == '+' || name[0] == '-' { // the zone database has numbers where there is no abbreviation
		return "UTC" + at.Format("-07:00")
	}
	return name
}

// entryTime returns the element for the time of an entry under the heading of its day. It is written in Go, with one allocation,
// because a page may have a thousand.
func entryTime(at time.Time, day string) fragment {
	html := at.UTC().AppendFormat(append(make([]byte, 0, 160), `<time datetime="`...), time.RFC3339Nano)
	html = append(append(append(html, `" title="`...), day...), ", "...)
	clock := len(html)
	html = append(at.AppendFormat(html, clockFormat), ' ')
	html = append(append(html, templ.EscapeString(zoneName(at))...), `">`...)
	html = append(html, html[clock:clock+len("15:04")]...)
	return fragment(append(html, "</time>"...))
}

// AppendText appends the message as one line:
//
//	ID<TAB>2026-11-20T17:42:12Z<TAB>the message, escaped<LF>
func (v Message) AppendText(dst []byte) []byte {
	dst = append(strconv.AppendInt(dst, int64(v.Message.ID), 10), '\t')
	dst = append(v.Message.RecordedAt.UTC().AppendFormat(dst, time.RFC3339), '\t')
	return append(appendEscaped(dst, v.Message.Value), '\n')
}

// AppendJSON appends the message, exactly as it was recorded:
//
//	{"id":3,"value":"two lines\nin one message","recorded_at":"2026-11-20T17:42:13.123456Z"}
//
// It takes a quarter of the time of encoding/json, which matters when all messages are sent.
func (v Message) AppendJSON(dst []byte) []byte {
	dst = strconv.AppendInt(append(dst, `{"id":`...), int64(v.Message.ID), 10)
	dst = appendString(append(dst, `,"value":`...), v.Message.Value)
	dst = v.Message.RecordedAt.UTC().AppendFormat(append(dst, `,"recorded_at":"`...), time.RFC3339)
	// Always six decimals, so that the texts sort by time. A layout with decimals would be much slower.
	point := len(dst) - len("Z")
	dst = strconv.AppendInt(dst[:point], int64(1_000_000+v.Message.RecordedAt.Nanosecond()/1000), 10)
	dst[point] = '.' // replaces the 1, which kept the zeros after it
	return append(dst, `Z"}`...)
}

// Event returns the message as a server-sent event for the list: its ID, and its entry under its day. For a removal, it is an event
// of its own: the ID of the message that was removed.
func (v Message) Event() []byte {
	if v.Message.Removes != nil {
		return fmt.Appendf(nil, "id: %d\nevent: removed\ndata: %d\n\n", v.Message.ID, *v.Message.Removes)
	}
	var html strings.Builder
	_ = section("./", []*ent.Message{v.Message}, v.Zone, nil).Render(context.Background(), &html) // to memory: cannot fail
	// Each line of an event's data needs a field name.
	return fmt.Appendf(nil, "id: %d\ndata: %s\n\n", v.Message.ID, strings.ReplaceAll(html.String(), "\n", "\ndata: "))
}

// Done tells a program what was done with a message. A browser is redirected to the list instead.
type Done struct {
	Message
	What string // "Recorded" or "Removed"
}

// AppendText appends a sentence. "Recorded: hello world" is that of the recipe that Daybook comes from.
func (v Done) AppendText(dst []byte) []byte {
	dst = append(append(dst, v.What...), ": "...)
	return append(appendEscaped(dst, v.Message.Message.Value), '\n')
}

// Removal asks whether to remove a message. Its text and JSON are the message's.
type Removal struct{ Message }

// Messages shows a page of the list: messages under the days on which they were recorded.
type Messages struct {
	Messages []*ent.Message // newest first
	Newest   bool           // the page starts with the newest message, and has the form or leads to it
	Older    string         // the address of the next older page, or ""
	Newer    string         // the address of the next newer page, or ""
	Day      time.Time      // the day whose messages are shown; zero for those of all days
	Words    Words          // the words of a search, which are marked
	Query    url.Values     // the parameters of the page's own address
	Zone     *time.Location // of the days and times
	Key      string         // the form's idempotency key, or "" if the page only leads to the form
	Command  string         // a command that records a message
}

// follow returns the command that shows messages as they are recorded, where Command records one.
func (v Messages) follow() string {
	return strings.TrimSuffix(strings.Replace(v.Command, "-d 'hello world'", "-N", 1), "record") + "live"
}

// heading says what the page shows.
func (v Messages) heading() string {
	switch {
	case len(v.Words) > 0:
		return "Messages with “" + v.Query.Get("q") + "”"
	case !v.Day.IsZero():
		return "Messages of " + v.Day.Format("2 January 2006")
	case v.Newest:
		return "Newest messages"
	}
	return "Messages"
}

// title is what a browser's tab shows.
func (v Messages) title() string {
	if v.Newest {
		return "Daybook"
	}
	return v.heading() + " · Daybook"
}

// zones names the zone of the times on the page. A page on which the clock was changed has two.
func (v Messages) zones() string {
	newest := zoneName(v.Messages[0].RecordedAt.In(v.Zone))
	oldest := zoneName(v.Messages[len(v.Messages)-1].RecordedAt.In(v.Zone))
	if oldest != newest {
		return newest + ", older ones " + oldest
	}
	return newest
}

// days groups the messages by their day in the zone, and keeps their order.
func (v Messages) days() (days [][]*ent.Message) {
	var day time.Time
	for _, m := range v.Messages {
		at := m.RecordedAt.In(v.Zone)
		if len(days) == 0 || at.YearDay() != day.YearDay() || at.Year() != day.Year() {
			days, day = append(days, nil), at
		}
		days[len(days)-1] = append(days[len(days)-1], m)
	}
	return days
}

// AppendText appends a line for each message, the newest last, where the prompt is.
func (v Messages) AppendText(dst []byte) []byte {
	for _, m := range slices.Backward(v.Messages) {
		dst = Message{Message: m}.AppendText(dst)
	}
	return dst
}

// AppendJSON appends the messages, newest first, and the addresses of the neighbouring pages.
func (v Messages) AppendJSON(dst []byte) []byte {
	dst = append(dst, `{"messages":[`...)
	for i, m := range v.Messages {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = Message{Message: m}.AppendJSON(dst)
	}
	dst = append(dst, ']')
	if v.Older != "" {
		dst = appendString(append(dst, `,"older":`...), v.Older)
	}
	if v.Newer != "" {
		dst = appendString(append(dst, `,"newer":`...), v.Newer)
	}
	return append(dst, '}')
}
