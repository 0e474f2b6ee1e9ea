package live

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// A poller looks for messages when it is notified, and every interval, because another process may record in the same database.
// After each look it pauses, so that of many messages those that come close together are published at once.
const (
	pause    = 10 * time.Millisecond
	interval = time.Second
)

// poller reads what is committed and publishes it, in one goroutine, from when the first subscriber comes until the last one
// leaves.
type poller struct {
	reader  *reader
	log     *slog.Logger
	news    <-chan struct{}
	window  *window
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// stop returns when the poller has ended. Two of them at a time would share the hub's notifications: one that ends could take
// what is meant for the next, whose subscribers then had the message only at the end of the interval.
func (p *poller) stop() {
	p.cancel()
	p.running.Wait()
}

// run publishes until ctx ends.
func (p *poller) run(ctx context.Context) {
	for ctx.Err() == nil {
		next, err := p.reader.after(ctx, p.window.newestID())
		if err == nil {
			p.window.publish(next.messages)
		} else if ctx.Err() == nil {
			p.log.LogAttrs(ctx, slog.LevelError, "live", slog.Any("error", err))
		}
		if err != nil || !next.full() {
			p.wait(ctx)
		}
	}
}

// wait waits until there may be messages.
func (p *poller) wait(ctx context.Context) {
	select {
	case <-time.After(pause):
	case <-ctx.Done():
		return
	}
	select {
	case <-p.news:
	case <-time.After(interval):
	case <-ctx.Done():
	}
}
