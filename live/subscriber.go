package live

import (
	"context"
	"sync"

	"daybook/ent"
)

// Subscriber receives the messages that a [Hub] publishes, at its own pace. Only one goroutine may use it.
type Subscriber struct {
	hub  *Hub
	last int    // the ID of the last message that it received
	held *batch // what it received last, which others share for as long as it holds it
}

// Next returns the next messages. They are valid until the next call, so that a subscriber has only one batch in memory. If there
// are none, changed is closed when there may be.
func (s *Subscriber) Next(ctx context.Context) (next []*Message, changed <-chan struct{}, err error) {
	s.held = nil
	s.hub.mu.Lock()
	newest, changed := s.hub.newest, s.hub.changed
	s.hub.mu.Unlock()
	if s.last >= newest {
		return nil, changed, nil
	}
	if s.held, err = s.hub.batches.after(ctx, s.hub.client, s.last); err != nil {
		return nil, nil, err
	}
	if n := len(s.held.messages); n > 0 {
		s.last = s.held.messages[n-1].ID
	}
	return s.held.messages, changed, nil
}

// Close ends the subscription.
func (s *Subscriber) Close() { s.hub.leave() }

// Message is a message that many subscribers share. They must not change it.
type Message struct {
	*ent.Message

	mu        sync.Mutex
	encodings map[string][]byte
}

// Encoded returns the message in the format. Only for the first subscriber that asks, it calls encode.
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
