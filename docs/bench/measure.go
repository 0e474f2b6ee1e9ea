package main

import (
	"cmp"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// result is what a load measures.
type result struct {
	perSecond float64
	p99       time.Duration // 99 of 100 requests take this long or less
}

// compare measures alternatives, each of which is loads that run at the same time. For each load it returns the result with the
// median of requests a second.
func (b *bench) compare(alternatives ...[]load) (medians []result) {
	var measures []func() []result
	for _, loads := range alternatives {
		measures = append(measures, func() []result { return b.measure(loads) })
	}
	return b.inTurns(measures...)
}

// inTurns measures in turns, in several rounds, so that whatever else the machine does meets all alternatives. It returns the medians.
func (b *bench) inTurns(measures ...func() []result) (medians []result) {
	rounds := make([][]result, b.rounds)
	for i := range rounds {
		for _, measure := range measures {
			rounds[i] = append(rounds[i], measure()...)
		}
	}
	for i := range rounds[0] {
		slices.SortFunc(rounds, func(x, y []result) int { return cmp.Compare(x[i].perSecond, y[i].perSecond) })
		medians = append(medians, rounds[len(rounds)/2][i])
	}
	return medians
}

// time adds a row with the median of the time that something takes.
func (b *bench) time(what string, do func() error) {
	var times []time.Duration
	for range b.rounds {
		begin := time.Now()
		if b.err == nil {
			b.fail(do())
		}
		times = append(times, time.Since(begin))
	}
	slices.Sort(times)
	b.row(what, milliseconds(times[len(times)/2]))
}

// measure runs loads at the same time, until all requests that count are answered. It returns the results of each load.
func (b *bench) measure(loads []load) []result {
	results := make([]result, len(loads))
	if b.err != nil {
		return results
	}
	begin := time.Now().Add(b.duration / 4) // until then, the servers warm up
	var open atomic.Int64                   // connections that may wait for an answer that counts
	all := make([][]time.Duration, len(loads))
	var mutex sync.Mutex
	var running sync.WaitGroup
	for i, l := range loads {
		open.Add(int64(l.connections))
		for range l.connections {
			running.Go(func() {
				times, err := l.run(begin, begin.Add(b.duration), &open)
				mutex.Lock()
				defer mutex.Unlock()
				all[i] = append(all[i], times...)
				b.fail(err)
			})
		}
	}
	running.Wait()
	for i, times := range all {
		if slices.Sort(times); len(times) > 0 {
			results[i] = result{float64(len(times)) / b.duration.Seconds(), times[(99*len(times)+99)/100-1]}
		}
	}
	return results
}

// run is one connection. It returns how long each request took that began in time, and so counts. It goes on while other
// connections wait for answers that count: so a slow request is neither left out nor made faster.
func (l load) run(begin, end time.Time, open *atomic.Int64) (times []time.Duration, err error) {
	finish := sync.OnceFunc(func() { open.Add(-1) })
	defer finish()
	c, err := l.dial()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	for open.Load() > 0 {
		sent := time.Now()
		if sent.After(end) {
			finish()
		}
		if err := c.exchange(io.Discard); err != nil {
			return nil, err
		}
		if sent.After(begin) && sent.Before(end) {
			times = append(times, time.Since(sent))
		}
	}
	return times, nil
}
