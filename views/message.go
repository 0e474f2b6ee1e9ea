package views

import (
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

// JSON returns the message.
func (v Message) JSON() any {
	return newJSONMessage(v.Message)
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

// jsonMessage is a message as JSON has it: exactly as it was recorded.
type jsonMessage struct {
	ID         int    `json:"id"`
	Value      string `json:"value"`
	RecordedAt string `json:"recorded_at"` // UTC, always with six decimals, so that such texts sort by time
}

func newJSONMessage(m *ent.Message) jsonMessage {
	return jsonMessage{
		ID:         m.ID,
		Value:      m.Value,
		RecordedAt: m.RecordedAt.UTC().Format("2006-01-02T15:04:05.000000Z07:00"),
	}
}
