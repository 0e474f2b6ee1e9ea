package live

import (
	"sync"

	"daybook/ent"
)

// Message is a message that is handed to many subscribers. They must not change it.
type Message struct {
	*ent.Message

	mu        sync.Mutex
	encodings map[string][]byte
}

// Encoded returns the message in the format, as encode makes it for the first subscriber that asks for that format.
func (m *Message) Encoded(format string, encode func(*ent.Message) []byte) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	encoded, ok := m.encodings[format]
	if !ok {
		if m.encodings == nil {
			m.encodings = map[string][]byte{}
		}
		encoded = encode(m.Message)
		m.encodings[format] = encoded
	}
	return encoded
}

// What a batch has at most: as many messages, or as few as have this many bytes of text.
const (
	maxBatch     = 100
	maxBatchSize = 64 << 10
)

// batch is messages that are handed to a subscriber, or published, together.
type batch struct {
	messages []*Message
	size     int // bytes of their text
}

func (b *batch) add(m *Message) {
	b.messages = append(b.messages, m)
	b.size += len(m.Value)
}

func (b *batch) full() bool {
	return len(b.messages) == maxBatch || b.size >= maxBatchSize
}
