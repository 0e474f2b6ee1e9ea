//go:build unix

package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"daybook/database/databasetest"
)

// TestNetworkToTheDatabase has trouble of each kind between two instances and PostgreSQL: once, for 12 seconds, or
// DAYBOOK_TEST_NETWORK times, for a minute.
func TestNetworkToTheDatabase(t *testing.T) {
	t.Parallel()
	rounds, stall := 1, 12*time.Second
	if n, err := strconv.Atoi(os.Getenv("DAYBOOK_TEST_NETWORK")); err == nil {
		rounds, stall = n, 30*time.Second
	}
	for round := range rounds {
		t.Run(strconv.Itoa(round), func(t *testing.T) { troubleNetwork(t, stall) })
	}
}

// troubleNetwork has clients record, with and without keys, list and follow at both instances meanwhile.
func troubleNetwork(t *testing.T, stall time.Duration) {
	postgres := databasetest.Start(t)
	direct := postgres.New(t)
	network, through := databasetest.Through(t, "127.0.0.1:0", direct, nil)
	servers := instances(t, 2, through)
	proxy := httptest.NewServer(roundRobin(t, servers))
	defer proxy.Close()
	followersHave := followAll(t, 6, proxy.URL)
	r := record(t, 16, servers...)
	unknown := map[string]bool{} // what was sent without a key, and maybe recorded
	for _, s := range servers {
		r.clients.Go(func() { r.recordWithoutKeys(s, unknown) })
		r.clients.Go(func() { r.list(s) })
	}
	for _, trouble := range []struct {
		name  string
		begin func()
	}{
		{"slow", func() { network.Delay.Store(int64(50 * time.Millisecond)) }},
		{"stalled", func() {
			thaw := network.Freeze()
			time.Sleep(stall)
			thaw()
		}},
		{"fast again", func() { network.Delay.Store(0) }},
		{"cut", network.Cut},
		{"only one way, on all connections that there are", network.Swallow},
	} {
		trouble.begin()
		t.Logf("%s: after %s, 50 more messages are recorded", trouble.name, r.wait(50))
	}
	recorded := r.stop()
	for status := range r.refused {
		if status != http.StatusServiceUnavailable {
			t.Errorf("%d were answered %d", r.refused[status], status)
		}
	}
	// What waits for the network goes on after it, or ends after 15 s. Then there may be 5 s for a connection, 10 in COMMIT, and 10 in
	// a second attempt.
	if r.slowest > min(stall, 15*time.Second)+26*time.Second {
		t.Errorf("an answer took %s", r.slowest)
	}
	t.Logf("%d recorded, refused %v, %d unknown, the slowest answer took %s", len(recorded), r.refused, len(unknown), r.slowest)

	for i, s := range servers {
		value := fmt.Sprint("afterwards ", i)
		status, id := r.send(s, value)
		if recorded[value] = id; status != http.StatusCreated || !strings.Contains(s.list(), "\t"+value+"\n") {
			t.Errorf("instance %d answers %d, and lists\n%s", i, status, s.list())
		}
	}
	book := stored(t, openDatabase(t, direct))
	for _, line := range book {
		if id, value, _ := strings.Cut(line, "\t"); unknown[value] {
			recorded[value], _ = strconv.Atoi(id)
		}
	}
	checkMessages(t, direct, recorded)
	followersHave(book)
	proxy.CloseClientConnections()
	for _, s := range servers {
		s.rests()
	}
}

// recordWithoutKeys records each message once. Of what is answered 503, nothing may be there; of some it is not known.
func (r *recorders) recordWithoutKeys(s *process, unknown map[string]bool) {
	for i := 0; !r.stopped.Load(); i++ {
		value := fmt.Sprint("without a key ", s.url, " ", i)
		status, id, answer := r.ask(s, http.MethodPost, "/record", value, "Content-Type", "text/plain")
		r.mu.Lock()
		switch {
		case status == http.StatusCreated:
			r.recorded[value] = id
		case status == http.StatusInternalServerError && strings.HasPrefix(answer, "It is not known whether"):
			unknown[value] = true
		default:
			r.refused[status]++
		}
		r.mu.Unlock()
	}
}

// list reads pages.
func (r *recorders) list(s *process) {
	for !r.stopped.Load() {
		if status, _, _ := r.ask(s, http.MethodGet, "/?format=html", ""); status != http.StatusOK {
			r.mu.Lock()
			r.refused[status]++
			r.mu.Unlock()
		}
	}
}

// rests waits until nothing is left of what clients have asked for: no follower, no connection in use, no goroutine.
func (s *process) rests() {
	s.t.Helper()
	for limit := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		m := s.metrics()
		if m["daybook_subscribers"] == 0 && m["daybook_database_connections"] == 0 && m["go_goroutines"] < 20 {
			return
		}
		if time.Now().After(limit) {
			s.t.Fatalf("without clients, there are %v subscribers, %v connections in use and %v goroutines",
				m["daybook_subscribers"], m["daybook_database_connections"], m["go_goroutines"])
		}
	}
}
