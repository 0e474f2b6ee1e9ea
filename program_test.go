//go:build unix

package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"html"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"daybook/database/databasetest"
)

// How many requests are sent to one database, and by how many clients in a round, after which all is compared while it is quiet.
const (
	bookSteps    = 1000
	roundClients = 6
	clientSteps  = 7
)

// TestEveryAnswerFitsASerialOrder runs random programs of requests, and looks for a serial order of them that the model allows: of
// 3,000 requests, or DAYBOOK_TEST_STEPS. DAYBOOK_TEST_SEED repeats the programs of one database, though not what meets what.
func TestEveryAnswerFitsASerialOrder(t *testing.T) {
	steps := 3 * bookSteps
	if n, err := strconv.Atoi(os.Getenv("DAYBOOK_TEST_STEPS")); err == nil {
		steps = n
	}
	t.Setenv("TZ", "UTC")
	t.Setenv("DAYBOOK_TOKEN", modelToken)
	file := func(t *testing.T) string { return filepath.Join(t.TempDir(), "daybook.db") }
	t.Run("one process", func(t *testing.T) { runPrograms(t, steps/3, 1, true, file) })
	t.Run("two processes on one file", func(t *testing.T) { runPrograms(t, steps/3, 2, true, file) })
	t.Run("two instances on PostgreSQL", func(t *testing.T) {
		postgres := databasetest.Start(t, "fsync=off")
		runPrograms(t, steps/3, 2, false, func(t *testing.T) string { return postgres.New(t) })
	})
}

const modelToken = "a-token-for-the-model"

// runPrograms runs programs against so many servers, with a new database after each bookSteps.
func runPrograms(t *testing.T, steps, servers int, serial bool, newURL func(*testing.T) string) {
	for done := 0; done < steps; {
		seed := rand.Uint64()
		if n, err := strconv.ParseUint(os.Getenv("DAYBOOK_TEST_SEED"), 10, 64); err == nil {
			seed = n
		}
		ok := t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			url := newURL(t)
			p := &programs{t: t, serial: serial, begin: importOldDays(t, url), servers: instances(t, servers, url), seed: seed,
				http: &http.Transport{MaxIdleConnsPerHost: 2 * roundClients}, cuts: &http.Transport{DisableKeepAlives: true},
				tagged: map[string]answer{}, tags: map[string]string{}}
			if !serial {
				commitSlowly(t, url)
			}
			defer p.stop()
			for ; p.steps.Load() < min(bookSteps, int64(steps-done)); p.rounds++ {
				p.round()
			}
			done += int(p.steps.Load())
			t.Logf("%d requests in %d rounds: %d messages, %d removed, %d answered 503, %d changes cut, %d of them carried out",
				p.steps.Load(), p.rounds, len(p.begin.messages), len(p.begin.removed), p.refused.Load(), p.cut, p.cut-len(p.unknown))
		})
		if !ok {
			return
		}
	}
}

// stop stops the servers. If the test has failed, it shows which requests their logs say have failed.
func (p *programs) stop() {
	p.http.CloseIdleConnections()
	for i, s := range p.servers {
		for line := range strings.Lines(s.stop(syscall.SIGTERM)) {
			if p.t.Failed() && (strings.Contains(line, "level=ERROR") || strings.Contains(line, "status=50")) {
				p.t.Logf("server %d: %s", i, line)
			}
		}
	}
}

// importOldDays imports messages of other days.
func importOldDays(t *testing.T, url string) (s state) {
	t.Helper()
	var lines strings.Builder
	for i, at := range []string{
		"2001-01-01T00:00:00", "2001-01-01T23:59:59", "2001-01-02T00:00:00", "2001-01-02T12:00:00", "2001-01-04T23:59:59",
		"2001-01-05T00:00:00", "2001-01-05T00:00:00", "2001-02-01T10:00:00",
	} {
		m := message{i + 1, fmt.Sprint("old ", i, " apple"), at}
		s.messages = append(s.messages, m)
		fmt.Fprintf(&lines, `{"id":%d,"value":%q,"recorded_at":"%sZ"}`+"\n", m.id, m.value, m.at)
	}
	command := daybook(t, t.TempDir(), "import", "--database="+url)
	command.Stdin = strings.NewReader(lines.String())
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	return s
}

// commitSlowly makes PostgreSQL commit messages in another order than that of their IDs.
func commitSlowly(t *testing.T, url string) {
	t.Helper()
	driver := openDatabase(t, url)
	for _, statement := range []string{
		"CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(random() * 0.01); RETURN NULL; END'",
		"CREATE CONSTRAINT TRIGGER linger AFTER INSERT ON messages DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION linger()",
	} {
		if err := driver.Exec(t.Context(), statement, []any{}, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// programs are those that run against one database.
type programs struct {
	t       *testing.T
	servers []*process
	serial  bool
	seed    uint64
	http    *http.Transport // which follows no redirect
	cuts    *http.Transport // for what is cut: net/http may give the error of its context to the next request on the connection
	rounds  int

	clock, steps, refused atomic.Int64

	begin     state        // of the round
	forgotten map[int]bool // the IDs of messages that had been removed before the round before

	mu      sync.Mutex
	told    int                   // the greatest ID in an answer
	ids     []int                 // that were in answers
	history []porcupine.Operation // of the round
	unknown []porcupine.Operation // that had no answer, and may be carried out later
	cut     int                   // how many had no answer
	tagged  map[string]answer     // by server, address and ETag
	tags    map[string]string     // the last ETag of each server and address
	streams []*stream
}

// client is one of those that run side by side.
type client struct {
	*programs
	random *rand.Rand
	number int
}

func (p *programs) client(number int) *client {
	return &client{p, rand.New(rand.NewPCG(p.seed, uint64(p.rounds*100+number))), number}
}

// round has the clients run side by side, waits until the followers have all messages, and then lists all at each server.
func (p *programs) round() {
	p.history, p.streams = nil, nil
	p.ids = slices.Clone(p.begin.removed)
	for _, m := range p.begin.messages {
		p.ids = append(p.ids, m.id)
	}
	p.told = slices.Max(p.ids)
	var clients, followers sync.WaitGroup
	for i := range p.servers {
		p.client(roundClients+i).follow(&followers, i)
	}
	for i := range roundClients {
		c := p.client(i)
		clients.Go(func() {
			for range clientSteps {
				c.step(&followers)
			}
		})
	}
	clients.Wait()
	quiet := p.client(roundClients + len(p.servers))
	insist := func(send func()) { // a busy server refuses
		for before := int64(-1); before != p.refused.Load(); {
			before = p.refused.Load()
			send()
		}
	}
	for i := range p.servers {
		insist(func() {
			quiet.send(i, question{do: "record", value: p.lastOf(i)}, quiet.request(i, http.MethodPost, "/record", p.lastOf(i)), false)
		})
	}
	followers.Wait()
	for i := range p.servers {
		insist(func() {
			quiet.send(i, question{do: "all", before: math.MaxInt}, quiet.request(i, http.MethodGet, "/?all&format=ndjson", ""), false)
		})
	}
	if !p.t.Failed() {
		p.check()
	}
	if p.t.Failed() {
		p.t.FailNow()
	}
}

// lastOf returns the last message of a round that is recorded at a server. Its followers end with it. It is so long that all messages
// are sent in several parts.
func (p *programs) lastOf(server int) string {
	return fmt.Sprintf("end of round %d at %d %s", p.rounds, server, strings.Repeat(".", 1500))
}

// step sends a random request, or a few. In every third round the servers but the first one are hardly asked to change anything.
func (c *client) step(followers *sync.WaitGroup) {
	server, cut := c.random.IntN(len(c.servers)), c.random.IntN(10) == 0
	n := c.random.IntN(100)
	if n < 50 && c.rounds%3 == 2 {
		server = 0
	}
	switch {
	case n < 4:
		c.recordHalf(server)
	case n < 40:
		c.record(server, cut)
	case n < 50:
		id := c.id()
		c.one("show", id, c.random.IntN(len(c.servers)), false)
		c.one("remove", id, server, cut)
		c.one(c.oneOf("show", "remove"), id, c.random.IntN(len(c.servers)), false)
	case n < 60:
		c.one("show", max(0, c.id()+c.random.IntN(3)-1), server, cut)
	case n < 66:
		c.follow(followers, server)
	default:
		c.page(server, cut)
	}
}

func (c *client) oneOf(texts ...string) string { return texts[c.random.IntN(len(texts))] }

// reads returns a method that reads.
func (c *client) reads() string {
	return c.oneOf(http.MethodGet, http.MethodGet, http.MethodGet, http.MethodHead)
}

// id returns an ID that was in an answer: often one of the last ones.
func (c *client) id() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.ids)
	if c.random.IntN(2) == 0 {
		n = min(n, 10)
	}
	return c.ids[len(c.ids)-1-c.random.IntN(n)]
}

// request returns a request with the token.
func (c *client) request(server int, method, path, body string) *http.Request {
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.servers[server].url+path, strings.NewReader(body))
	if err != nil {
		c.t.Error(err)
	}
	r.Header.Set("Authorization", "Bearer "+modelToken)
	r.Header.Set("Content-Type", "text/plain")
	return r
}

// record records a message of its own, or one with a key that others use, too.
func (c *client) record(server int, cut bool) {
	value := fmt.Sprint("message ", c.clock.Add(1))
	for range c.random.IntN(4) {
		value += " " + c.oneOf("Apple", "aPPle", "pear", "ÄPFEL", "äpfel", "жук", "ЖУК", "100%", "100 %", "a_b", "axb", `C:\dir`, `\n`,
			"<b>&amp;</b>", "two\nlines", "zero\u200bwidth", `"it's"`, "http://example.org/?a=b&c", strings.Repeat("long ", 100))
	}
	if c.random.IntN(5) < 2 {
		value = fmt.Sprintf("key %d.%d|%s", max(0, c.rounds-c.random.IntN(2)), c.random.IntN(4), c.oneOf("Apple", "Apple", "pear"))
	}
	key, format := keyOf(value), c.oneOf("text", "json", "html")
	if key != "" && format == "html" {
		format = "text" // it would not say which message has the key
	}
	fields, path := url.Values{"msg": {value}}, "/record?format="+format
	r := c.request(server, http.MethodPost, path, value)
	switch c.random.IntN(4) {
	case 0:
		if key != "" {
			fields.Set("key", key)
		}
		r = c.request(server, http.MethodPost, path, fields.Encode())
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		key = ""
	case 1:
		body, _ := json.Marshal(map[string]string{"msg": value})
		r = c.request(server, http.MethodPost, path, string(body))
		r.Header.Set("Content-Type", "application/json")
	case 2:
		r = c.request(server, http.MethodGet, path+"&"+fields.Encode(), "")
	}
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	c.send(server, question{do: "record", value: value}, r, cut)
}

// one shows a message, or removes it.
func (c *client) one(do string, id, server int, cut bool) {
	method, format := c.reads(), c.oneOf("text", "json")
	if do == "remove" {
		method, format = http.MethodDelete, "json"
	}
	r := c.request(server, method, fmt.Sprintf("/messages/%d?format=%s", id, format), "")
	c.send(server, question{do: do, id: id}, r, cut)
}

// recordHalf sends a message that ends before it is complete. Nobody may ever see it, so it is not in the history.
func (c *client) recordHalf(server int) {
	c.steps.Add(1)
	conn := c.servers[server].say(fmt.Sprintf("POST /record HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n"+
		"Content-Length: 1000\r\n\r\nhalf %d", modelToken, c.clock.Add(1)))
	if err := conn.Close(); err != nil {
		c.t.Error(err)
	}
}

// page asks for a page, or for all messages. Often it is the first page, as by those who look again and again.
func (c *client) page(server int, cut bool) {
	q, query := question{do: "page", before: math.MaxInt, limit: 50}, url.Values{}
	if c.random.IntN(4) > 0 {
		c.narrow(&q, query)
	}
	method, path, format := c.reads(), "/?", c.oneOf("text", "html", "html", "json", "ndjson", "atom")
	if c.random.IntN(5) == 0 {
		q.do, method, path, format = "all", http.MethodGet, "/?all&", c.oneOf("text", "json", "ndjson")
		query.Del("limit")
	}
	q.html = format == "html"
	newest := q.before == math.MaxInt && q.words == nil && q.day == ""
	q.settled = !c.serial && (q.forward || q.do == "all" || q.html && newest)
	query.Set("format", format)
	c.send(server, q, c.request(server, method, path+query.Encode(), ""), cut)
}

// narrow makes a question about fewer messages.
func (c *client) narrow(q *question, query url.Values) {
	switch c.random.IntN(6) {
	case 0, 1:
		q.forward, q.after = true, max(0, c.id()-c.random.IntN(2))
		query.Set("after", strconv.Itoa(q.after))
	case 2:
		q.before = c.id() + c.random.IntN(2)
		query.Set("before", strconv.Itoa(q.before))
	}
	if c.random.IntN(4) == 0 {
		words := c.oneOf("apple", "Äpfel", "жук", "%", "0%", "_", "a_b", `\`, `\n`, "'s", "&amp;", "lines", "e 1", "b", "\u200b", "pear message")
		if query.Set("q", words); c.random.IntN(2) == 0 {
			query.Set("q", strings.ToUpper(words))
		}
		q.words = strings.Fields(strings.ToLower(words))
	}
	if c.random.IntN(6) == 0 {
		q.day = c.oneOf("2001-01-01", "2001-01-02", "2001-01-03", "2001-01-05", time.Now().UTC().Format(time.DateOnly))
		query.Set("on", q.day)
	}
	if c.random.IntN(2) == 0 {
		q.limit = []int{1, 2, 3, 10, 1000}[c.random.IntN(5)]
		query.Set("limit", strconv.Itoa(q.limit))
	}
}

// send sends a request, and adds it to the history with its answer. If it is cut, it may be answered or not.
func (c *client) send(server int, q question, r *http.Request, cut bool) {
	c.steps.Add(1)
	c.mu.Lock()
	q.told = c.told
	place := fmt.Sprint(server, " ", r.URL.RequestURI())
	if etag := c.tags[place]; r.Method == http.MethodGet && etag != "" && c.random.IntN(2) == 0 {
		r.Header.Set("If-None-Match", etag)
	}
	c.mu.Unlock()
	transport := c.http
	if cut {
		ctx, cancel := context.WithTimeout(r.Context(), time.Duration(c.random.Int64N(int64(6*time.Millisecond))))
		defer cancel()
		r, transport = r.WithContext(ctx), c.cuts
	}
	q.path = fmt.Sprintf("%s %s to %d", r.Method, r.URL.RequestURI(), server)
	op := porcupine.Operation{ClientId: c.number, Call: c.clock.Add(1)}
	begun := time.Now()
	response, body, err := exchange(transport, r)
	op.Return = c.clock.Add(1)
	if time.Since(begun) > time.Second { // for which a read waits until the order is settled
		q.told = 0
	}
	op.Input = q
	c.mu.Lock()
	defer c.mu.Unlock()
	switch writes := q.do == "record" || q.do == "remove"; {
	case err != nil && !cut:
		c.t.Errorf("%s: %v", q.path, err)
	case err != nil && writes:
		op.Output = answer{messages: []message{{value: q.value}}}
		c.unknown, c.cut = append(c.unknown, op), c.cut+1
	case err == nil:
		c.add(op, q, place, response, body)
	}
}

// exchange returns the answer to a request.
func exchange(transport *http.Transport, r *http.Request) (*http.Response, string, error) {
	response, err := transport.RoundTrip(r)
	if err != nil {
		return nil, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response, string(body), err
}

// add adds a request to the history with its answer. The caller holds mu.
func (c *client) add(op porcupine.Operation, q question, place string, response *http.Response, body string) {
	a, err := answerOf(q, response, body)
	etag := response.Header.Get("ETag")
	place += " "
	if known, found := c.tagged[place+etag]; response.StatusCode == http.StatusNotModified || response.Request.Method == http.MethodHead && found {
		a.status, a.messages = known.status, known.messages // the client has it already
	} else if response.Request.Method == http.MethodHead && a.status == http.StatusOK {
		return // nobody has seen what it is about
	} else if etag != "" {
		c.tagged[place+etag], c.tags[strings.TrimSuffix(place, " ")] = a, etag
	}
	if err != nil {
		c.t.Errorf("%s: %d %v in %q", q.path, a.status, err, body)
	}
	if a.status == http.StatusServiceUnavailable {
		c.refused.Add(1)
	}
	for _, m := range a.messages {
		if c.told < m.id {
			c.told = m.id
			c.ids = append(c.ids, m.id)
		}
	}
	op.Output = a
	c.history = append(c.history, op)
}

var (
	linkTo    = regexp.MustCompile(`<([^>]*)>; rel="(next|prev)"`)
	messageAt = regexp.MustCompile(`messages/(\d+)$`)
	htmlEntry = regexp.MustCompile(`(?s)id="message-(\d+)">.*?<time datetime="([^"]*)".*?class="value[^>]*>(.*?)</p>`)
	htmlTag   = regexp.MustCompile(`<[^>]*>`)
	unescape  = strings.NewReplacer(`\\`, `\`, `\n`, "\n", `\u200b`, "\u200b")
)

// answerOf reads an answer.
func answerOf(q question, response *http.Response, body string) (a answer, err error) {
	a.status = response.StatusCode
	if q.do == "record" {
		var stored jsonMessage
		if response.Header.Get("Content-Type") == "application/json; charset=utf-8" {
			err = json.Unmarshal([]byte(body), &stored)
		}
		id := 0
		if found := messageAt.FindStringSubmatch(response.Header.Get("Location")); found != nil {
			id, _ = strconv.Atoi(found[1])
		}
		a.messages = []message{{id, cmp.Or(stored.Value, q.value), stored.seconds()}}
		return a, err
	}
	for _, link := range linkTo.FindAllStringSubmatch(strings.Join(response.Header.Values("Link"), ", "), -1) {
		if link[2] == "next" {
			a.older = placeOf(link[1])
		} else if a.newer = placeOf(link[1]); q.html {
			a.newer = "newer"
		}
	}
	if response.Request.Method != http.MethodHead && a.status == http.StatusOK {
		a.messages, err = messagesIn(response.Request.URL.Query().Get("format"), body)
	}
	return a, err
}

// placeOf returns what is in the address of a page, in the words of the model.
func placeOf(address string) string {
	if found := messageAt.FindStringSubmatch(address); found != nil {
		return found[1]
	}
	parsed, _ := url.Parse(address)
	for _, name := range []string{"before", "after", "on"} {
		if place := parsed.Query().Get(name); place != "" {
			return name + " " + place
		}
	}
	return address
}

// jsonMessage is a message, or a page of them.
type jsonMessage struct {
	ID         int    `json:"id"`
	Value      string `json:"value"`
	RecordedAt string `json:"recorded_at"`
	Messages   []jsonMessage
}

// seconds returns the time in seconds.
func (m jsonMessage) seconds() string {
	return m.RecordedAt[:min(len(m.RecordedAt), len("2006-01-02T15:04:05"))]
}

// messagesIn returns the messages of an answer, in the order of their IDs.
func messagesIn(format, body string) (messages []message, err error) {
	var read []jsonMessage
	switch format {
	case "text":
		for line := range strings.Lines(body) {
			fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
			id, err := strconv.Atoi(fields[0])
			if err != nil || len(fields) != 3 {
				return nil, fmt.Errorf("the line %q", line)
			}
			read = append(read, jsonMessage{ID: id, RecordedAt: fields[1], Value: unescape.Replace(fields[2])})
		}
	case "html", "events":
		for _, found := range htmlEntry.FindAllStringSubmatch(body, -1) {
			id, _ := strconv.Atoi(found[1])
			read = append(read, jsonMessage{ID: id, RecordedAt: found[2], Value: html.UnescapeString(htmlTag.ReplaceAllString(found[3], ""))})
		}
	case "atom":
		read, err = entriesOf(body)
	default:
		for decoder := json.NewDecoder(strings.NewReader(body)); err == nil; {
			var m jsonMessage
			if err = decoder.Decode(&m); m.ID != 0 {
				read = append(read, m)
			}
			read = append(read, m.Messages...)
		}
		if err == io.EOF {
			err = nil
		}
	}
	if format != "text" && format != "ndjson" { // the newest first
		slices.Reverse(read)
	}
	for _, m := range read {
		messages = append(messages, message{m.ID, m.Value, m.seconds()})
	}
	return messages, err
}

// entriesOf returns the messages of an Atom feed.
func entriesOf(body string) (read []jsonMessage, err error) {
	var feed struct {
		Entry []struct {
			Link struct {
				Href string `xml:"href,attr"`
			} `xml:"link"`
			Published string `xml:"published"`
			Content   string `xml:"content"`
		} `xml:"entry"`
	}
	err = xml.Unmarshal([]byte(body), &feed)
	for _, entry := range feed.Entry {
		id, _ := strconv.Atoi(placeOf(entry.Link.Href))
		read = append(read, jsonMessage{ID: id, RecordedAt: entry.Published, Value: html.UnescapeString(htmlTag.ReplaceAllString(entry.Content, ""))})
	}
	return read, err
}

// stream is what a follower got on one connection.
type stream struct {
	path     string
	after    int   // the ID after which it begins, or -1
	begun    int64 // when the answer had begun
	events   bool
	whole    bool // it has reached the end of the round
	messages []message
	removals map[int]int // by their IDs
	last     int
}

// follow follows a server until the end of the round. Some break off, and follow again after what they have.
func (c *client) follow(followers *sync.WaitGroup, server int) {
	format, after, most := c.oneOf("text", "ndjson", "events"), -1, math.MaxInt
	if c.random.IntN(2) == 0 {
		after = max(0, c.id()-c.random.IntN(3))
	}
	if c.random.IntN(2) == 0 {
		most = 1 + c.random.IntN(20)
	}
	s, response := c.open(server, format, after)
	followers.Go(func() {
		for response != nil {
			err := s.read(response, format, c.lastOf(server), most)
			response.Body.Close()
			c.mu.Lock()
			c.streams = append(c.streams, s)
			c.mu.Unlock()
			if err != nil {
				c.t.Errorf("%s: after %d messages, up to %d: %v", s.path, len(s.messages), s.last, err)
			}
			if s.whole || err != nil {
				return
			}
			most = math.MaxInt
			s, response = c.open(server, format, s.last)
		}
	})
}

// open begins to follow.
func (c *client) open(server int, format string, after int) (*stream, *http.Response) {
	c.steps.Add(1)
	r := c.request(server, http.MethodGet, "/live?format="+format, "")
	if after >= 0 && after%2 == 0 {
		r.Header.Set("Last-Event-ID", strconv.Itoa(after))
	} else if after >= 0 {
		r.URL.RawQuery += "&after=" + strconv.Itoa(after)
	}
	ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
	c.t.Cleanup(cancel)
	response, err := c.http.RoundTrip(r.WithContext(ctx))
	if err != nil {
		c.t.Error(err)
		return nil, nil
	}
	return &stream{path: fmt.Sprintf("GET %s to %d, after %d", r.URL.RequestURI(), server, after), after: after, begun: c.clock.Add(1),
		events: format == "events", removals: map[int]int{}, last: after}, response
}

// read reads until the last message, or until it has the most messages.
func (s *stream) read(response *http.Response, format, last string, most int) error {
	lines := bufio.NewReader(response.Body)
	for part := ""; len(s.messages) < most; {
		line, err := lines.ReadString('\n')
		if err != nil {
			return err
		}
		part += line
		if s.events && line != "\n" {
			continue
		}
		if err := s.add(format, part); err != nil {
			return err
		}
		part = ""
		if n := len(s.messages); n > 0 && s.messages[n-1].value == last {
			s.whole = true
			return nil
		}
	}
	return nil
}

// add adds what a line has, or an event.
func (s *stream) add(format, part string) error {
	part = strings.ReplaceAll("\n"+part, "\ndata: ", "\n")
	id, removed := 0, 0
	if n, _ := fmt.Sscanf(part, "\nid: %d\nevent: removed\n%d", &id, &removed); n == 2 {
		s.removals[id] = removed
	} else {
		messages, err := messagesIn(format, strings.TrimPrefix(part, "\n"))
		if err != nil || len(messages) == 0 {
			return err
		}
		s.messages, id = append(s.messages, messages[0]), messages[0].id
	}
	if id <= s.last {
		return fmt.Errorf("%d comes after %d", id, s.last)
	}
	s.last = id
	return nil
}

// check looks for a serial order of the round, checks what the followers got, and begins the next round with what is there now.
func (p *programs) check() {
	final := p.history[len(p.history)-1].Output.(answer).messages
	seen := p.seen()
	next := state{messages: final, removed: slices.Clone(p.begin.removed)}
	var created []int
	for _, id := range slices.Sorted(maps.Keys(seen)) {
		if !p.begin.given(id) {
			created = append(created, id)
		}
		if _, there := next.find(id); !there && !next.given(id) {
			next.removed = append(next.removed, id)
		}
	}
	history := p.explained(created, seen, next)
	m := model(p.begin, p.serial)
	if result := porcupine.CheckOperationsTimeout(m, history, time.Minute); result != porcupine.Ok {
		p.t.Errorf("round %d fits no serial order (%s):\n%s", p.rounds, result, describe(shortest(m, history)))
	}
	p.checkStreams(history, next)
	p.forgotten = map[int]bool{}
	for _, id := range p.begin.removed {
		p.forgotten[id] = true
	}
	p.begin = next
}

// seen returns each message that was in an answer or that was there before.
func (p *programs) seen() map[int]message {
	seen := map[int]message{}
	see := func(messages []message, path string) {
		for _, m := range messages {
			if m.id == 0 { // a refused message, or one whose ID is not known
				continue
			}
			known := cmp.Or(seen[m.id], m)
			if known.at = cmp.Or(known.at, m.at); m.at == "" {
				m.at = known.at
			}
			if seen[m.id] = known; m != known {
				p.t.Errorf("%s shows %d as %.80q of %s, another request as %.80q of %s", path, m.id, m.value, m.at, known.value, known.at)
			}
		}
	}
	see(p.begin.messages, "")
	for _, op := range p.history {
		see(op.Output.(answer).messages, op.Input.(question).path)
	}
	for _, s := range p.streams {
		see(s.messages, s.path)
	}
	return seen
}

// carriedOut returns what requests without an answer have done, some time before the next state: a keyed one may have recorded any of
// the messages with its value, another one the first. What has left no trace may be carried out later.
func (p *programs) carriedOut(ids func(value string) []int, seen map[int]message, next state) (history []porcupine.Operation) {
	var unknown []porcupine.Operation
	for _, op := range p.unknown {
		q := op.Input.(question)
		op.Return = math.MaxInt64
		if q.do == "remove" && slices.Contains(next.removed, q.id) {
			history = append(history, op)
			continue
		}
		given, keyed := ids(q.value), keyOf(q.value) != ""
		if !keyed {
			given = given[:min(len(given), 1)]
		}
		for _, id := range given {
			op.Output = answer{messages: []message{seen[id]}}
			history = append(history, op)
		}
		if len(given) == 0 || keyed {
			unknown = append(unknown, op)
		}
	}
	p.unknown = unknown
	return history
}

// explained returns the history with what is known after the round, such as the ID of a message whose answer did not say it.
func (p *programs) explained(created []int, seen map[int]message, next state) []porcupine.Operation {
	ids := func(value string) []int {
		return slices.DeleteFunc(slices.Clone(created), func(id int) bool { return seen[id].value != value })
	}
	history := append(p.carriedOut(ids, seen, next), p.history...)
	for i, op := range history {
		q, a := op.Input.(question), op.Output.(answer)
		if q.created = created; q.do == "all" {
			q.removing = removedBefore(history, op.Return)
		}
		if q.do == "record" {
			recorded := a.messages[0]
			if given := ids(q.value); a.status == http.StatusSeeOther && len(given) > 0 {
				recorded.id = given[0]
			}
			recorded.at = seen[recorded.id].at
			a.messages = []message{recorded}
		}
		history[i].Input, history[i].Output = q, a
	}
	return history
}

// removedBefore returns the IDs of the messages that requests have removed, or may have, which were sent before a time.
func removedBefore(history []porcupine.Operation, end int64) (ids []int) {
	for _, op := range history {
		q, status := op.Input.(question), op.Output.(answer).status
		if q.do == "remove" && op.Call < end && (status == 0 || status == http.StatusOK) {
			ids = append(ids, q.id)
		}
	}
	return ids
}

// checkStreams checks what the followers got in the round, which ended with the next state.
func (p *programs) checkStreams(history []porcupine.Operation, next state) {
	recorded := map[int]int64{} // when the first request was sent that may have recorded the message
	removed := map[int]int64{}  // when the request was sent that removed it
	for _, m := range p.begin.messages {
		recorded[m.id] = 0
	}
	for _, op := range history {
		q, a := op.Input.(question), op.Output.(answer)
		if q.do == "remove" && a.status == http.StatusOK {
			removed[q.id] = op.Call
		}
		if q.do != "record" || a.messages[0].id == 0 {
			continue
		}
		if first, found := recorded[a.messages[0].id]; !found || op.Call < first {
			recorded[a.messages[0].id] = op.Call
		}
	}
	entries := map[int]int{} // the removals of all streams
	for _, s := range p.streams {
		if problem := p.problem(s, recorded, removed, next); problem != "" {
			p.t.Errorf("round %d: %s: %s\nit has %s, removals %v", p.rounds, s.path, problem, idsOf(s.messages), s.removals)
		}
		for id, target := range s.removals {
			if known := cmp.Or(entries[id], target); known != target || !slices.Contains(next.removed, target) {
				p.t.Errorf("round %d: %s: event %d says that %d is removed", p.rounds, s.path, id, target)
			}
			entries[id] = target
		}
	}
}

// problem returns what is wrong with a stream, or "". Its order is checked already.
func (p *programs) problem(s *stream, recorded, removed map[int]int64, next state) string {
	has := map[int]bool{}
	for _, m := range s.messages {
		has[m.id] = true
		if _, found := recorded[m.id]; !found || p.forgotten[m.id] {
			return fmt.Sprintf("message %d was removed long ago, or never recorded", m.id)
		}
	}
	begin := s.after
	if s.after < 0 { // no later than at the first message that was sent to the server since
		begin = math.MaxInt
		for id, at := range recorded {
			if at > s.begun || has[id] {
				begin = min(begin, id-1)
			}
		}
		if n := len(p.begin.messages); begin < p.begin.messages[n-1].id {
			return "it begins before the round"
		}
	}
	for _, m := range next.messages {
		if m.id > begin && m.id <= s.last && !has[m.id] {
			return fmt.Sprintf("message %d is missing", m.id)
		}
	}
	told := slices.Collect(maps.Values(s.removals))
	for id, at := range removed {
		if s.events && s.whole && at > s.begun && !slices.Contains(told, id) {
			return fmt.Sprintf("the removal of %d is missing", id)
		}
	}
	return ""
}

// shortest returns the history without the reads that are not needed to show that no serial order explains it.
func shortest(m porcupine.Model, history []porcupine.Operation) []porcupine.Operation {
	for i := len(history) - 1; i >= 0; i-- {
		if do := history[i].Input.(question).do; do == "record" || do == "remove" {
			continue
		}
		shorter := slices.Delete(slices.Clone(history), i, i+1)
		if porcupine.CheckOperationsTimeout(m, shorter, time.Second) == porcupine.Illegal {
			history = shorter
		}
	}
	return history
}

// describe returns a line for each request.
func describe(history []porcupine.Operation) string {
	slices.SortFunc(history, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	var lines strings.Builder
	for _, op := range history {
		q, a := op.Input.(question), op.Output.(answer)
		until := strconv.FormatInt(op.Return, 10)
		if op.Return == math.MaxInt64 {
			until = "?"
		}
		fmt.Fprintf(&lines, "client %d, %d to %s: %s %q: %d %s, older %q, newer %q\n", op.ClientId, op.Call, until, q.path,
			q.value, a.status, idsOf(a.messages), a.older, a.newer)
	}
	return lines.String()
}

// idsOf returns the IDs of messages as ranges, such as "1-3 5".
func idsOf(messages []message) string {
	var ranges []string
	for i := 0; i < len(messages); {
		first := i
		for i++; i < len(messages) && messages[i].id == messages[i-1].id+1; i++ {
		}
		text := strconv.Itoa(messages[first].id)
		if i > first+1 {
			text += "-" + strconv.Itoa(messages[i-1].id)
		}
		ranges = append(ranges, text)
	}
	return strings.Join(ranges, " ")
}
