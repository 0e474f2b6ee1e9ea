package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// load is what so many connections ask of a server, each sending its next request when the last one is answered.
type load struct {
	server      *server
	request     []byte
	status      int // that every answer must have
	connections int
}

// post returns the load that records.
func post(s *server, connections int) load {
	body := url.Values{"msg": {"The gate is open; please close it when you leave."}}.Encode()
	request := fmt.Appendf(nil, "POST /record HTTP/1.1\r\nHost: %s\r\nAccept: */*\r\n"+
		"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", s.address, len(body), body)
	return load{s, request, http.StatusCreated, connections}
}

// get returns the load that reads.
func get(s *server, path, accept string, connections int) load {
	request := fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nAccept: %s\r\n\r\n", path, s.address, accept)
	return load{s, request, http.StatusOK, connections}
}

// result is what a load meets.
type result struct {
	perSecond float64
	p99       time.Duration // 99 of 100 requests take so long or less
}

func (r result) String() string {
	return fmt.Sprintf("%s (%s)", count(r.perSecond), latency(r.p99))
}

// session is one measurement, of the requests that begin in its window.
type session struct {
	begin, end time.Time
	open       atomic.Int64 // connections with such a request that may be unanswered
}

// patience is how long after the window a request may be unanswered.
const patience = time.Minute

// measure lets the loads run at the same time, and returns what each meets. They go on until the last request that counts is
// answered, so that one is neither missed for being slow nor helped by the silence of the others.
func measure(ctx context.Context, window time.Duration, loads []load) ([]result, error) {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	begin := time.Now().Add(window / 4) // what comes before warms up
	s := &session{begin: begin, end: begin.Add(window)}
	taken := make([][][]time.Duration, len(loads))
	var running sync.WaitGroup
	for i, l := range loads {
		taken[i] = make([][]time.Duration, l.connections)
		s.open.Add(int64(l.connections))
		for j := range l.connections {
			running.Go(func() {
				var err error
				if taken[i][j], err = l.run(ctx, s); err != nil {
					fail(l.server.explain(err))
				}
			})
		}
	}
	running.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	results := make([]result, len(loads))
	for i := range loads {
		all := slices.Sorted(slices.Values(slices.Concat(taken[i]...)))
		if len(all) == 0 {
			return nil, fmt.Errorf("no request began within %s", window)
		}
		results[i] = result{float64(len(all)) / window.Seconds(), all[(99*len(all)+99)/100-1]}
	}
	return results, nil
}

// run is one connection's part. It returns how long each request took that counts.
func (l load) run(ctx context.Context, s *session) (taken []time.Duration, err error) {
	c, err := dial(l.server.address, l.status, s.end.Add(patience))
	if err != nil {
		return nil, err
	}
	defer c.conn.Close()
	defer context.AfterFunc(ctx, func() { c.conn.Close() })()
	for counts := true; ; {
		sent := time.Now()
		if counts && sent.After(s.end) {
			counts = false
			s.open.Add(-1)
		}
		if !counts && s.open.Load() == 0 {
			return taken, nil
		}
		if err := c.exchange(l.request); err != nil {
			return nil, err
		}
		if counts && sent.After(s.begin) {
			taken = append(taken, time.Since(sent))
		}
	}
}
