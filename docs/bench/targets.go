package main

import (
	"fmt"
	"math"
	"time"
)

// row is one target, and whether it is reached.
type row struct {
	What, Target, Measured, Reached string
}

// rows compares the findings with the targets.
func (b *bench) rows() []row {
	one, many := b.at(1), b.at(b.many)
	record := fmt.Sprintf("`POST /record`, %d connections", b.many)
	slow := atLeast(record+", each flush 2 ms longer", 20, "×", "the usual", b.slow.ours, b.slow.usual)
	if b.slow.not != "" {
		slow.Measured, slow.Reached = "not here: "+b.slow.not, ""
	}
	reading := atLeast(fmt.Sprintf("`GET /` while %d connections record", b.many), 50, "%", "of that while none do",
		b.beside.busy, b.beside.alone)
	reading.Measured += fmt.Sprintf(" while they record %s/s", count(b.beside.recording.perSecond))
	fewer, more := "of that with "+count(few), count(b.messages)+" messages"
	return []row{
		atLeast(record, 7, "×", "the usual", many.Ours, many.Usual),
		atLeast(record, 40, "%", "of Echo alone", many.Ours, many.Bare),
		within(record+", 99th percentile", 20, "the usual", many.Ours, many.Usual),
		atLeast("`POST /record`, 1 connection", 1, "×", "the usual", one.Ours, one.Usual),
		slow,
		reading,
		atLeast("`GET /` as text, "+more, 80, "%", fewer, b.text.large, b.text.small),
		atLeast("`GET /` as HTML, "+more, 80, "%", fewer, b.html.large, b.html.small),
		atLeast("`GET /` as text", 20, "%", "of the same bytes from memory", b.text.large, b.text.memory),
		atLeast("`GET /` as HTML", 20, "%", "of the same bytes from memory", b.html.large, b.html.memory),
		b.sends("text", b.sending.text),
		b.sends("NDJSON", b.sending.ndjson),
		b.sends("JSON", b.sending.json),
		b.finds("the slowest search", b.searching.slowest, 200*time.Millisecond),
		b.finds("a frequent search", b.searching.frequent, 10*time.Millisecond),
		b.weighs(),
		b.tells(),
		below("Memory, sending these", 60, b.sending.peak),
		below("Memory, at the most", 60, b.peak),
	}
}

// sends compares sending all messages with the sqlite3 command.
func (b *bench) sends(format string, r result) row {
	sends := atLeast(fmt.Sprintf("`GET /?all` as %s, %s messages", format, count(b.whole)), 20, "%", "of the sqlite3 command",
		r, b.sending.command)
	if b.sending.not != "" {
		sends.Measured, sends.Reached = "not here: "+b.sending.not, ""
	}
	return sends
}

// finds compares a search with its limit.
func (b *bench) finds(what string, s search, most time.Duration) row {
	return row{fmt.Sprintf("`GET /?q=`, %s messages, %s", count(b.whole), what), "at most " + latency(most),
		fmt.Sprintf("%s (%s, `%s`)", latency(s.taken), s.kind, s.query), verdict(s.taken <= most)}
}

// weighs compares the memory that a listener takes with its limit.
func (b *bench) weighs() row {
	const most = 48 // kilobytes
	l := b.listening
	weighs := row{
		What:   fmt.Sprintf("`GET /live`, %s listeners, memory apiece", count(l.listeners)),
		Target: fmt.Sprintf("at most %d KB", most), Measured: "not here: it takes a /proc",
	}
	if l.apiece != 0 {
		kilobytes := float64(l.apiece) / 1e3
		weighs.Measured, weighs.Reached = fmt.Sprintf("%.3g KB%s", kilobytes, l.few), verdict(kilobytes <= most)
	}
	return weighs
}

// tells compares the time until every listener has a message with its limit.
func (b *bench) tells() row {
	const most = time.Second
	l := b.listening
	return row{fmt.Sprintf("`GET /live`, %s listeners, until the last has a message", count(l.listeners)), "at most " + latency(most),
		fmt.Sprintf("%s at worst of %d (median %s)%s", latency(l.worst), told, latency(l.median), l.few), verdict(l.worst <= most)}
}

// atLeast asks for so many times, or percent, of the requests that another load meets.
func atLeast(what string, least float64, unit, of string, a, b result) row {
	ratio := a.perSecond / b.perSecond
	if unit == "%" {
		ratio *= 100
	}
	return row{what, fmt.Sprintf("at least %g %s %s", least, unit, of),
		fmt.Sprintf("%.3g %s (%s/s, %s/s)", ratio, unit, count(a.perSecond), count(b.perSecond)), verdict(ratio >= least)}
}

// within asks for answers within one of so many parts of the time of another load.
func within(what string, parts float64, of string, a, b result) row {
	ratio := b.p99.Seconds() / a.p99.Seconds()
	return row{what, fmt.Sprintf("at most 1/%g of %s", parts, of),
		fmt.Sprintf("1/%s (%s, %s)", count(math.Floor(ratio)), latency(a.p99), latency(b.p99)), verdict(ratio >= parts)}
}

// below asks for less than so many megabytes.
func below(what string, most float64, bytes int) row {
	target, megabytes := fmt.Sprintf("below %g MB", most), float64(bytes)/1e6
	if bytes == 0 {
		return row{what, target, "not here: it takes a /proc", ""}
	}
	return row{what, target, fmt.Sprintf("%.3g MB", megabytes), verdict(megabytes < most)}
}

func verdict(reached bool) string {
	if reached {
		return "yes"
	}
	return "**no**"
}

// count formats a number with commas.
func count[N int | float64](n N) string {
	digits := fmt.Sprintf("%.0f", float64(n))
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// latency formats a time in milliseconds.
func latency(d time.Duration) string {
	milliseconds := d.Seconds() * 1000
	if milliseconds < 10 {
		return fmt.Sprintf("%.2f ms", milliseconds)
	}
	return count(milliseconds) + " ms"
}
