package live

import "context"

// Subscriber is handed the messages that a [Hub] publishes, at its own pace. It is for one goroutine.
type Subscriber struct {
	hub    *Hub
	window *window
	last   int    // the ID of the message that it was handed last
	held   *batch // what it was handed last, which it may share with others for as long as it holds it
}

// Next returns the next messages, which are to be used before it is called again: then the subscriber keeps only one batch in
// memory. If there are none yet, changed is closed when there may be.
func (s *Subscriber) Next(ctx context.Context) (next []*Message, changed <-chan struct{}, err error) {
	held, changed, ok := s.window.after(s.last)
	if !ok {
		if held, err = s.hub.reader.shared(ctx, s.last); err != nil {
			return nil, nil, err
		}
	}
	s.held = held
	if n := len(held.messages); n > 0 {
		s.last = held.messages[n-1].ID
	}
	return held.messages, changed, nil
}

// Close ends the subscription.
func (s *Subscriber) Close() {
	s.hub.leave()
}
