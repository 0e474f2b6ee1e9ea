package views

import (
	"time"

	"daybook/ent"
)

// Message shows one message.
type Message struct {
	Message *ent.Message
	Zone    *time.Location
}

// Text returns the message's line.
func (v Message) Text() []byte {
	return appendLine(nil, v.Message)
}

// JSON returns the message.
func (v Message) JSON() any {
	return newJSONMessage(v.Message)
}

// Recorded tells a program that its message was recorded. A browser is shown the book instead.
type Recorded struct {
	Message
}

// Text returns the sentence of the recipe that Daybook comes from.
func (v Recorded) Text() []byte {
	text := appendEscaped([]byte("Recorded: "), v.Message.Message.Value)
	return append(text, '\n')
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
