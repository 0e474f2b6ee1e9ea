package live

import (
	"context"
	"runtime"
	"sync"
	"weak"

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
	if s.held, err = s.hub.batches.after(ctx, s.last); err != nil {
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

// batch is the messages that a subscriber holds.
type batch struct{ messages []*Message }

// batches are those that any subscriber holds, by the ID of the message before them. Subscribers at the same place share one:
// those that are up to date, and those that stopped reading there.
type batches struct {
	read func(ctx context.Context, after int) ([]*ent.Message, error)

	mu   sync.Mutex
	held map[int]weak.Pointer[batch]
}

// after returns messages after the one with the ID last. Subscribers read the database one at a time: the first one reads for
// the others.
func (b *batches) after(ctx context.Context, last int) (*batch, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if held := b.held[last].Value(); held != nil {
		return held, nil
	}
	messages, err := b.read(ctx, last)
	read := new(batch)
	for _, m := range messages {
		read.messages = append(read.messages, &Message{Message: m})
	}
	if len(messages) > 0 {
		b.held[last] = weak.Make(read)
		runtime.AddCleanup(read, b.forget, last)
	}
	return read, err
}

// forget removes the pointer to a batch that nobody holds, unless it has been read again.
func (b *batches) forget(last int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.held[last].Value() == nil {
		delete(b.held, last)
	}
}
