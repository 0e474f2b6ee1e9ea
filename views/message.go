package views

import (
	"context"
	"fmt"
	"strings"
	"time"

	"daybook/ent"
)

// Message shows one message.
type Message struct {
	Message *ent.Message
	Older   int // the number of the message before it; 0 if it is the first
	Newer   int // the number of the one after it; 0 if it is the last
	Zone    *time.Location
}

// OlderURL returns the address of the message before it, if there is one.
func (v Message) OlderURL(root string) string { return numberURL(root, v.Older) }

// NewerURL returns the address of the message after it, if there is one.
func (v Message) NewerURL(root string) string { return numberURL(root, v.Newer) }

func numberURL(root string, id int) string {
	if id == 0 {
		return ""
	}
	return messageURL(root, id)
}

// AppendText appends the message's line.
func (v Message) AppendText(dst []byte) []byte {
	return appendLine(dst, v.Message)
}

// AppendJSON appends the message.
func (v Message) AppendJSON(dst []byte) []byte {
	return appendJSON(dst, v.Message)
}

// Event returns the message as a server-sent event for the page of messages: its number, and its entry under its day.
func (v Message) Event() []byte {
	event := fmt.Appendf(nil, "id: %d\n", v.Message.ID)
	day := day{v.Message.RecordedAt.In(v.Zone), []*ent.Message{v.Message}}
	var html strings.Builder
	_ = section("./", day, v.Zone, nil).Render(context.Background(), &html) // a Builder takes everything
	// A carriage return ends a line of an event, and of HTML it is the same character as written so.
	for line := range strings.SplitSeq(strings.ReplaceAll(html.String(), "\r", "&#13;"), "\n") {
		event = fmt.Appendf(event, "data: %s\n", line)
	}
	return append(event, '\n')
}

// Recorded tells a program that its message was recorded. A browser is shown the book instead.
type Recorded struct {
	Message
}

// AppendText appends the sentence of the recipe that Daybook comes from.
func (v Recorded) AppendText(dst []byte) []byte {
	dst = append(dst, "Recorded: "...)
	return append(appendEscaped(dst, v.Message.Message.Value), '\n')
}
