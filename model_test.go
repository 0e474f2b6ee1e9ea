//go:build unix

package main

import (
	"cmp"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/anishathalye/porcupine"
)

// The model says what Daybook answers if requests come one after another. Some serial order of the requests must explain all answers,
// in which a request that was answered before another one was sent comes first. The model shares no code with the server.
//
// Three reads promise less, because whoever sends them goes on after their last message:
//   - On PostgreSQL, a page after a message, and the first page as HTML, end at some message. They have all that anybody was told of
//     before they were asked for, unless they took more than a second. No message appears later before their last one.
//   - ?all is the same. On both databases, it may also lack what was removed while it was sent.
//   - A stream gets every message after the one at which it begins, in order. It may get one that was removed meanwhile.

// message is a message as clients see it. All formats have seconds.
type message struct {
	id    int
	value string
	at    string
}

// keyOf returns the idempotency key with which a value is recorded, or "". A value begins with it.
func keyOf(value string) string {
	key, _, found := strings.Cut(value, "|")
	if !found {
		return ""
	}
	return key
}

// state is the messages in the order of their IDs, and the IDs of those that were removed.
type state struct {
	messages []message
	removed  []int
}

// question is a request.
type question struct {
	path string // for people
	do   string // record, remove, show, page or all

	value string // to record
	id    int    // to remove or show

	after, before, limit int // of a page: those after a message, or before one, or the newest
	forward              bool
	words                []string
	day                  string
	html                 bool

	settled  bool  // it ends where no message can appear any more
	told     int   // the greatest ID that anybody was told of before
	created  []int // the IDs that were given during the round
	removing []int // the IDs that somebody may have removed before the answer
}

// answer is what a client got.
type answer struct {
	status       int // 0: none came, and the request was carried out some time or never
	messages     []message
	older, newer string // where the page leads to
}

// model returns the model that begins with a state. In a serial database, IDs are given in the order of the commits.
func model(begin state, serial bool) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return begin },
		Step: func(before, input, output any) (bool, any) {
			s, q, a := before.(state), input.(question), output.(answer)
			switch {
			case a.status == http.StatusServiceUnavailable: // refused means gone
				return true, s
			case q.do == "record":
				return s.record(q, a, serial)
			case q.do == "page":
				return a.status == http.StatusOK && s.shows(q, a), s
			case q.do == "all":
				return a.status == http.StatusOK && s.sends(q, a), s
			}
			return s.one(q, a)
		},
		Equal: func(a, b any) bool {
			return slices.Equal(a.(state).messages, b.(state).messages) && slices.Equal(a.(state).removed, b.(state).removed)
		},
		Hash: func(s any) (hash uint64) {
			for _, m := range s.(state).messages {
				hash = hash*31 + uint64(m.id)
			}
			return hash
		},
	}
}

// find returns where a message is, or would be.
func (s state) find(id int) (i int, found bool) {
	return slices.BinarySearchFunc(s.messages, id, func(m message, id int) int { return cmp.Compare(m.id, id) })
}

// given reports whether a message has, or had, the ID.
func (s state) given(id int) bool {
	_, found := s.find(id)
	return found || slices.Contains(s.removed, id)
}

// record records a message, unless another one has its key.
func (s state) record(q question, a answer, serial bool) (bool, state) {
	recorded := a.messages[0]
	holder := slices.IndexFunc(s.messages, func(m message) bool { return keyOf(q.value) != "" && keyOf(m.value) == keyOf(q.value) })
	switch {
	case a.status == 0 && (holder >= 0 || s.given(recorded.id)):
		return true, s
	case a.status == http.StatusUnprocessableEntity:
		return holder >= 0 && s.messages[holder].value != q.value, s
	case holder >= 0:
		return a.status == http.StatusCreated && s.messages[holder] == recorded && recorded.value == q.value, s
	}
	i, _ := s.find(recorded.id)
	last := i == len(s.messages) && (len(s.removed) == 0 || recorded.id > slices.Max(s.removed))
	ok := slices.Contains([]int{0, http.StatusCreated, http.StatusSeeOther}, a.status) &&
		recorded.value == q.value && recorded.id > q.told && !s.given(recorded.id) && (last || !serial)
	return ok, state{slices.Insert(slices.Clone(s.messages), i, recorded), s.removed}
}

// one removes a message or shows it.
func (s state) one(q question, a answer) (bool, state) {
	i, found := s.find(q.id)
	if !found {
		status := http.StatusNotFound
		if slices.Contains(s.removed, q.id) {
			status = http.StatusGone
		}
		return a.status == status || a.status == 0, s
	}
	if a.status != 0 && (a.status != http.StatusOK || !slices.Equal(a.messages, s.messages[i:i+1])) {
		return false, s
	}
	if q.do == "remove" {
		return true, state{slices.Delete(slices.Clone(s.messages), i, i+1), append(slices.Clone(s.removed), q.id)}
	}
	want := answer{}
	if i > 0 {
		want.older = strconv.Itoa(s.messages[i-1].id)
	}
	if i+1 < len(s.messages) {
		want.newer = strconv.Itoa(s.messages[i+1].id)
	}
	return a.older == want.older && a.newer == want.newer, s
}

// shows reports whether the answer is the page.
func (s state) shows(q question, a answer) bool {
	if !q.settled {
		return s.page(q, math.MaxInt).equal(a)
	}
	return s.ordered(q, a) && slices.ContainsFunc(s.ends(q), func(end int) bool { return s.page(q, end).equal(a) })
}

// sends reports whether the answer is all messages.
func (s state) sends(q question, a answer) bool {
	return s.ordered(q, a) && slices.ContainsFunc(s.ends(q), func(end int) bool {
		rest := a.messages
		for _, m := range s.matching(q, end) {
			if m.id <= q.after || m.id >= q.before {
				continue
			}
			if len(rest) > 0 && rest[0] == m {
				rest = rest[1:]
			} else if !slices.Contains(q.removing, m.id) {
				return false
			}
		}
		return len(rest) == 0
	})
}

// ends returns the IDs at which a read may end that promises less.
func (s state) ends(q question) []int {
	ends := []int{math.MaxInt}
	for i := len(s.messages) - 1; q.settled && i >= 0 && s.messages[i].id > q.told; i-- {
		ends = append(ends, s.messages[i].id-1)
	}
	return ends
}

// ordered reports whether no message appears later before the answer's last one.
func (s state) ordered(q question, a answer) bool {
	return len(a.messages) == 0 || !slices.ContainsFunc(q.created, func(id int) bool {
		return id < a.messages[len(a.messages)-1].id && !s.given(id)
	})
}

// matching returns the messages of the day with the words, up to an ID.
func (s state) matching(q question, end int) (matching []message) {
	for _, m := range s.messages {
		ok := m.id <= end && strings.HasPrefix(m.at, q.day)
		for _, word := range q.words {
			ok = ok && strings.Contains(strings.ToLower(m.value), word)
		}
		if ok {
			matching = append(matching, m)
		}
	}
	return matching
}

// page returns a page of the messages up to an ID.
func (s state) page(q question, end int) (page answer) {
	matching := s.matching(q, end)
	place := func(id int) int { // of the first message with at least the ID
		i, _ := state{messages: matching}.find(id)
		return i
	}
	from, to := place(q.after+1), place(q.before)
	if q.forward {
		to = min(to, from+q.limit)
	} else {
		from = max(from, to-q.limit)
	}
	page.messages = matching[from:to]
	first, last := q.after+1, q.before-1
	if from < to {
		first, last = matching[from].id, matching[to-1].id
	}
	if page.older, page.newer = s.days(q.day); from > 0 {
		page.older = fmt.Sprint("before ", first)
	}
	if to < len(matching) {
		page.newer = fmt.Sprint("after ", last)
	}
	if q.html && page.newer != "" {
		page.newer = "newer" // as HTML it may be the first page
	}
	return page
}

// days returns where a day leads to: the nearest days that have messages.
func (s state) days(day string) (older, newer string) {
	for _, m := range s.messages {
		if at := m.at[:min(len(m.at), len("2006-01-02"))]; day == "" {
			break
		} else if at < day {
			older = "on " + at
		} else if at > day && newer == "" {
			newer = "on " + at
		}
	}
	return older, newer
}

func (a answer) equal(b answer) bool {
	return slices.Equal(a.messages, b.messages) && a.older == b.older && a.newer == b.newer
}
