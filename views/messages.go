package views

import (
	"net/url"
	"slices"
	"time"

	"daybook/ent"
)

// Messages shows a page of the book: messages under the days they were recorded on.
type Messages struct {
	Messages []*ent.Message // newest first
	Newest   bool           // it is the page on which the newest message is, and will be: it has the form as well
	Older    string         // the address of the next older page, if there is one
	Newer    string
	Words    Words          // that were searched for
	Query    url.Values     // the parameters of the page's own address
	Zone     *time.Location // in which days and times are told
	Key      string         // the form's
	Command  string         // a command line that records, for a book that is still empty
}

// heading says what the page shows.
func (v Messages) heading() string {
	switch {
	case len(v.Words) > 0:
		return "Messages with “" + v.Query.Get("q") + "”"
	case v.Newest:
		return "Newest messages"
	}
	return "Messages"
}

// title names the page among a browser's tabs.
func (v Messages) title() string {
	if v.Newest {
		return "Daybook"
	}
	return v.heading() + " · Daybook"
}

// day is the messages of one day, newest first.
type day struct {
	date     time.Time
	messages []*ent.Message
}

// days divides the messages, which stay in order, by the day of the zone.
func (v Messages) days() []day {
	var days []day
	for _, m := range v.Messages {
		date := m.RecordedAt.In(v.Zone)
		if last := len(days) - 1; last >= 0 && sameDay(days[last].date, date) {
			days[last].messages = append(days[last].messages, m)
			continue
		}
		days = append(days, day{date: date, messages: []*ent.Message{m}})
	}
	return days
}

func sameDay(a, b time.Time) bool {
	return a.YearDay() == b.YearDay() && a.Year() == b.Year()
}

// AppendText appends a line for each message, the newest last, where the prompt is.
func (v Messages) AppendText(dst []byte) []byte {
	for _, m := range slices.Backward(v.Messages) {
		dst = appendLine(dst, m)
	}
	return dst
}

// AppendJSON appends the messages, newest first.
func (v Messages) AppendJSON(dst []byte) []byte {
	dst = append(dst, `{"messages":[`...)
	for i, m := range v.Messages {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendJSON(dst, m)
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
