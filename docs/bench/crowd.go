package main

import (
	"context"
	"io"
	"slices"
	"time"
)

// inCrowd measures what visitors wait, alone and among clients that occupy the server and want nothing of it.
func (b *bench) inCrowd(ctx context.Context, s servers) {
	read, record := list(s.daybook, 1), post(s.daybook, 1)
	readAlone, recordAlone := b.wait(read), b.wait(record)
	leave := b.crowd.Surround(ctx, s.daybook.address)
	readAmong, recordAmong := b.wait(read), b.wait(record)
	memory := s.daybook.proc("status", "VmHWM:")
	leave()
	b.table("In a crowd", "What", "Alone", "In the crowd")
	b.row("The 99th percentile of `GET /`", milliseconds(readAlone), milliseconds(readAmong))
	b.row("The 99th percentile of `POST /record`", milliseconds(recordAlone), milliseconds(recordAmong))
	b.row("The largest memory of Daybook", "", english.Sprintf("%.1f MB", memory*1.024/1000))
}

// wait returns the 99th percentile of the wait for an answer. There are 50 requests a second, at fixed times: if one is late, so is
// the next. This takes longer than the crowd takes to be disconnected and to come again.
func (b *bench) wait(l load) time.Duration {
	var times []time.Duration
	visitor, err := l.dial()
	b.fail(err)
	for begun := time.Now(); b.err == nil && time.Since(begun) < 12*b.duration; {
		due := begun.Add(time.Duration(len(times)) * 20 * time.Millisecond)
		time.Sleep(time.Until(due))
		b.fail(visitor.exchange(io.Discard))
		times = append(times, time.Since(due))
	}
	if b.err != nil {
		return 0
	}
	_ = visitor.Close()
	slices.Sort(times)
	return times[len(times)*99/100]
}
