package handlers_test

import (
	"encoding/json"
	"html"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	nethtml "golang.org/x/net/html"

	daybook "daybook/book"
	"daybook/database/databasetest"
	"daybook/ent/schema"
	"daybook/handlers"
)

// openFuzzed opens a book for a fuzz target. It is asked without a network, and its commits are not flushed: both would take most
// of the time.
func openFuzzed(f *testing.F, access handlers.Access) *book {
	f.Helper()
	b := openWith(f, databasetest.New(f), access)
	if !databasetest.Postgres() {
		b.exec("PRAGMA synchronous = OFF")
	}
	return b
}

// in returns the book for one execution of the target.
func (b *book) in(t *testing.T) *book {
	execution := *b
	execution.t = t
	return &execution
}

// connection is where the handler writes its answer. It has no deadlines to set.
type connection struct{ *httptest.ResponseRecorder }

func (connection) SetReadDeadline(time.Time) error  { return nil }
func (connection) SetWriteDeadline(time.Time) error { return nil }

// ask has the request answered, which must not fail. The log has no more than this request afterwards.
func (b *book) ask(request *http.Request) answer {
	b.t.Helper()
	b.came.clear()
	b.log.clear()
	to := connection{httptest.NewRecorder()}
	b.server.Handler.ServeHTTP(to, request.WithContext(b.t.Context()))
	got := answer{to.Code, to.Header(), to.Body.String()}
	if got.status >= 500 {
		b.t.Fatalf("%s %s: answered %d\n%s\n%s", request.Method, request.URL, got.status, got.body, b.log)
	}
	return got
}

// request returns a request for the address, whose parts may have any characters.
func request(method, path, query, body string) *http.Request {
	r := httptest.NewRequest(method, "http://localhost/", strings.NewReader(body))
	r.URL.Path, r.URL.RawQuery = path, query
	return r
}

// FuzzRecord records what a body holds, and compares it with what other parsers read there.
func FuzzRecord(f *testing.F) {
	for _, seed := range [][3]string{
		{form, "", "msg=hello+world%21&key=k"}, {form, "", "msg=one; two"}, {form, "", "a=100%&msg=a%0D%0Ab%0D"}, {form, "", "hello world\n"},
		{form, "", "msg=a&msg=b"}, {form, "", "msg=a&key=1&key=2"}, {form, "", "m%73g=a"}, {form, "", "msg=%ff"}, {form, "", "msg"},
		{form, "format=html", "msg=100%"}, {form, "", "key=%00&msg=a"},
		{multi, "", part("msg", "a\r\nb")}, {multi, "", part("msg", "a") + part("msg", "b")}, {"multipart/form-data", "", part("msg", "a")},
		{multi, "", parts(part("key", "k"), part("msg", "a"))}, {multi, "", parts(part("msg", "a"), part("msg", "b"))},
		{multi, "", parts(part("key", "k"), part("msg", "a"), part("key", "l"))},
		{multi, "", strings.Replace(part("msg", "=41"), "\r\n\r\n", "; filename=a\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n", 1)},
		{jsonType, "", `{"msg":"a\n\u0062 \ud83d\udc4b"}`}, {jsonType, "", `{"Msg":"a","mſg":"b","other":[{"msg":null}]}`},
		{jsonType, "", `{"msg":"a","msg":null}`}, {jsonType, "", `{"msg":"\\ud83d \ud83d"}`}, {jsonType, "", `{"msg":"a"} {}`}, {jsonType, "", `["msg"]`},
		{jsonType + "; charset", "", "{\"msg\":\"a\xff\"}"}, {jsonType, "", `{"msg":1,"msg":"a"}`}, {jsonType, "", " null"},
		{plain, "", "a\r\n"}, {plain, "msg=address", "a\n\r"}, {plain, "format=json", " \u2003"}, {"/;", "", "a\x00"},
		{"", "", strings.Repeat("x", maxMessage+1)},
		{"", "msg=hello%20world&format=ndjson", ""}, {"", "a=b;msg=c", ""}, {plain, "format=atom", "a"}, {plain, "format=text&format=%", "a"},
		{"application/X-WWW-Form-URLEncoded; a=b; a=c", "", "msg=a"}, {"image/svg+xml", "", "<svg/>"},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	opened := openFuzzed(f, handlers.Access{})
	f.Fuzz(func(t *testing.T, contentType, query, body string) {
		if len(body) > 8000 {
			t.Skip() // other tests are about large ones, for which mime/multipart has limits of its own
		}
		b := opened.in(t)
		r := request("POST", "/record", query, body)
		r.Header.Set("Content-Type", contentType)
		got := b.ask(r)

		value, key, ok := submitted(contentType, query, body)
		accepted := true
		if asked, _ := url.ParseQuery(query); asked.Has("format") {
			accepted = slices.Contains([]string{"text", "html", "json", "ndjson"}, asked.Get("format"))
		}
		want := []string{}
		if ok && accepted && len(value) <= maxMessage && isText(value) && strings.TrimSpace(value) != "" && len(key) <= 255 && isText(key) {
			want = append(want, value)
		}
		recorded := got.status == http.StatusCreated || got.status == http.StatusSeeOther
		stored := b.values()
		if !slices.Equal(stored, want) || recorded != (len(want) > 0) || !recorded && got.status < 400 {
			t.Errorf("answered %d %s, and recorded %q, want %q", got.status, got.body, stored, want)
		}
		if len(stored) > 0 {
			b.exec("DELETE FROM messages")
		}
	})
}

// isText reports whether a database and a terminal can have the text.
func isText(text string) bool { return utf8.ValidString(text) && !strings.Contains(text, "\x00") }

// finalNewline is what a body loses.
var finalNewline = regexp.MustCompile(`\r?\n\z`)

// submitted reads the message and its key from a request. It is not ok if there is none, or more than one.
func submitted(contentType, query, body string) (value, key string, ok bool) {
	if body == "" {
		value, key, _, ok = inForm(query)
		return value, key, ok
	}
	mediaType, params, _ := mime.ParseMediaType(contentType)
	switch mediaType {
	case jsonType:
		value, ok = inJSON(body)
		return value, "", ok
	case "multipart/form-data":
		return inMultipart(body, params["boundary"])
	case form:
		if value, key, found, ok := inForm(body); found {
			return value, key, ok
		}
	}
	return finalNewline.ReplaceAllString(body, ""), "", true
}

// inForm reads an urlencoded form with url.ParseQuery, one pair after another: it drops those with semicolons, which people write,
// and takes a name alone for a field, which it is not here.
func inForm(encoded string) (value, key string, found, ok bool) {
	fields, ok := url.Values{}, true
	for pair := range strings.SplitSeq(strings.ReplaceAll(encoded, ";", "%3B"), "&") {
		name, _, is := strings.Cut(pair, "=")
		names, err := url.ParseQuery(name + "=")
		if !is || err != nil {
			continue
		}
		values, err := url.ParseQuery(pair)
		for name := range names {
			fields[name] = append(fields[name], values.Get(name))
			ok = ok && (err == nil || name != "msg" && name != "key")
		}
	}
	ok = ok && len(fields["msg"]) == 1 && len(fields["key"]) <= 1
	return strings.ReplaceAll(fields.Get("msg"), "\r\n", "\n"), fields.Get("key"), fields.Has("msg"), ok
}

func inMultipart(body, boundary string) (value, key string, ok bool) {
	form, err := multipart.NewReader(strings.NewReader(body), boundary).ReadForm(1 << 20)
	if err != nil {
		return "", "", false
	}
	fields := url.Values(form.Value)
	for name, files := range form.File {
		for _, header := range files {
			file, err := header.Open()
			if err != nil {
				return "", "", false
			}
			content, _ := io.ReadAll(file) // from memory
			fields.Add(name, string(content))
		}
	}
	return strings.ReplaceAll(fields.Get("msg"), "\r\n", "\n"), fields.Get("key"), len(fields["msg"]) == 1 && len(fields["key"]) <= 1
}

// surrogates matches the escapes of JSON that are pairs of surrogates, or halves of one, which are in the group.
var surrogates = regexp.MustCompile(`\\\\|\\u[dD][89abAB]..\\u[dD][c-fC-F]..|(\\u[dD][89a-fA-F]..)`)

// inJSON reads the last member msg of an object, token by token.
func inJSON(body string) (value string, ok bool) {
	half := slices.ContainsFunc(surrogates.FindAllStringSubmatch(body, -1), func(match []string) bool { return match[1] != "" })
	decoder := json.NewDecoder(strings.NewReader(body))
	decoder.UseNumber()
	if begin, _ := decoder.Token(); begin != json.Delim('{') || half || !utf8.ValidString(body) || !json.Valid([]byte(body)) {
		return "", false
	}
	for decoder.More() {
		name, _ := decoder.Token()
		var member any
		_ = decoder.Decode(&member) // it is valid
		if strings.EqualFold(name.(string), "msg") {
			if value, ok = member.(string); !ok && member != nil {
				return "", false
			}
		}
	}
	return value, ok
}

// known are the messages that FuzzRead reads, oldest first: three a day.
var known = []string{
	"hello world", "Straße nach İzmir", "100% a_b back\\slash", "see https://example.org/?a=b&c=d.", "if x {\n\ty()\n\tz()\n}",
	"<b>&amp;</b>", "\x1b[2J\u202e", "HELLO again", "résumé", "x", "an \"id\":1 message", "hello hello",
}

const removed = 6 // of these

// recordedAt returns when the message with an ID was recorded. The first one of a day comes soon after midnight.
func recordedAt(id int) time.Time {
	return time.Date(2026, 11, 17+(id-1)/3, (id-1)%3*11, 0, 30, 1000, time.Local)
}

// FuzzRead reads a page, or the message with the number.
func FuzzRead(f *testing.F) {
	for _, query := range []string{
		"", "limit=3", "before=8&limit=2", "after=4&limit=2", "after=0", "before=1", "after=99", "before=3&after=1", "limit=0", "limit=1001",
		"q=hello", "q=STRASSE+%C4%B0", "q=100%25", "q=a_b", "q=%5C", "q=%ff", "q=%00", "q=+", "q=hello+w&limit=1", "q=" + manyWords(),
		"on=2026-11-18", "on=2026-11-18&limit=1", "on=2026-11-19&after=7", "on=0000-01-01", "on=9999-12-31", "on=2026-02-30", "on=",
		"on=1900-01-01&before=5", "all", "all&after=4", "all&q=hello&on=2026-11-17", "all=&before=5&format=json", "all&format=html", "a;b", "%",
		"before=x", "limit=2&limit=x", "before=9223372036854775807", "after=9223372036854775806", "before=9223372036854775808", "before=-1",
		"before=%2B5", "q=%22%3E%3Cscript%3E&limit=1", "format=html&q=x&on=2026-11-20",
	} {
		for _, accept := range []string{"", browser} {
			f.Add("", query, accept)
		}
	}
	for _, format := range []string{"text", "html", "json", "ndjson", "atom", "xml", "", "HTML", "text&format=html"} {
		for _, number := range []string{"", "4", "99"} {
			f.Add(number, "limit=4&format="+format, "image/webp")
		}
	}
	for _, accept := range []string{
		"*/*", "text/*;q=0.5, text/plain;q=0", "application/json;q=0.3, text/html;q=0.301", "application/atom+xml", "image/*", "text/html;q=0",
		"TEXT/HTML;Q=1.000", "text/html;q=2", "text/html;level=1", "text/*, */*;q=0", "a/b, application/*;q=0.1", "text/html, text/html;q=0", ",", "text",
		"application/x-ndjson, application/json", "application/problem+json", "*/html", "text/plain;q=0.5,text/html;q=0.5,text/plain",
	} {
		f.Add("", "", accept)
		f.Add("5", "", accept)
	}
	for _, number := range []string{"1", "6", "13", "0", "-1", "+5", "05", "9223372036854775808", "5/delete", "..", "%35", "5\x00", "é", "5/", "/5"} {
		f.Add(number, "", "")
	}
	opened := openFuzzed(f, handlers.Access{})
	for i, value := range known {
		opened.client.Message.Create().SetValue(value).SetRecordedAt(recordedAt(i + 1)).ExecX(f.Context())
	}
	if _, _, err := daybook.Remove(f.Context(), opened.client, removed); err != nil {
		f.Fatal(err)
	}
	followed := map[string]bool{}
	f.Fuzz(func(t *testing.T, number, query, accept string) {
		b := opened.in(t)
		path, formats := "/", listTypes
		if asked, _ := url.ParseQuery(query); number != "" {
			path, formats = "/messages/"+number, listTypes[:4]
		} else if asked.Has("all") {
			formats = []string{"text/plain", "application/json", "application/x-ndjson"}
		}
		r := request("GET", path, query, "")
		r.Header.Set("Accept", accept)
		got := b.ask(r)
		if strings.Contains(number, "/") {
			return // another address
		}
		contentType := checkType(t, got, query, accept, formats)
		if got.status == http.StatusNotAcceptable {
			return
		}
		ids, status := wanted(number, query)
		if got.status != status {
			t.Fatalf("answered %d %s, want %d", got.status, got.body, status)
		}
		if shown := numbersIn(got.body, contentType); !slices.Equal(shown, ids) {
			t.Errorf("messages %d are shown, want %d: %s", shown, ids, got.body)
		}
		for _, link := range linksIn(t, got, contentType) {
			b.leadsOn(r.URL, link, followed)
		}
	})
}

// manyWords returns as many words as a search can have.
func manyWords() string {
	var words []string
	for i := range 600 {
		words = append(words, string(rune(0x400+i)))
	}
	return url.QueryEscape(strings.Join(words, " "))
}

// The types of a list, and their names in ?format=. The first four are also those of other answers.
var (
	listTypes = []string{"text/plain", "text/html", "application/json", "application/x-ndjson", "application/atom+xml"}
	typeNames = []string{"text", "html", "json", "ndjson", "atom"}
)

// mediaRange matches an element of an Accept header without parameters but q.
var mediaRange = regexp.MustCompile(`^[ \t]*([a-z0-9*+.-]+/[a-z0-9*+.-]+)[ \t]*(?:;[ \t]*q=(0(?:\.[0-9]{1,3})?|1(?:\.0{1,3})?))?[ \t]*$`)

// preferred returns which of the types a client prefers, or "" if it accepts none. It is not sure about headers that nobody sends.
func preferred(query, accept string, types []string) (preferred string, sure bool) {
	if asked, _ := url.ParseQuery(query); asked.Has("format") {
		i := slices.Index(typeNames, asked.Get("format"))
		if i < 0 || !slices.Contains(types, listTypes[i]) {
			return "", true
		}
		return listTypes[i], true
	}
	if strings.TrimSpace(accept) == "" {
		return types[0], true
	}
	best, place := 0.0, 0
	elements := strings.Split(strings.ToLower(accept), ",")
	for _, mediaType := range types {
		family, _, _ := strings.Cut(mediaType, "/")
		specificity, quality, at := 0, 0.0, 0 // of the element that counts for this type
		for i, element := range elements {
			match := mediaRange.FindStringSubmatch(element)
			if match == nil {
				return "", false
			}
			q := 1.0
			if match[2] != "" {
				q, _ = strconv.ParseFloat(match[2], 64)
			}
			s := 1 + slices.Index([]string{"*/*", family + "/*", mediaType}, match[1])
			if s > specificity || s == specificity && s > 0 && q > quality {
				specificity, quality, at = s, q, i
			}
		}
		if quality > best || quality == best && quality > 0 && at < place {
			best, place, preferred = quality, at, mediaType
		}
	}
	return preferred, true
}

// checkType checks the type of an answer, and returns it.
func checkType(t *testing.T, got answer, query, accept string, types []string) (contentType string) {
	t.Helper()
	contentType, found := strings.CutSuffix(got.header.Get("Content-Type"), "; charset=utf-8")
	want, sure := preferred(query, accept, types)
	if sure && (got.status == http.StatusNotAcceptable) != (want == "") {
		t.Errorf("answered %d, and %q is preferred", got.status, want)
	}
	if got.status >= 400 {
		types = listTypes[:4]
		if want, sure = preferred(query, accept, types); want == "" {
			want = types[0]
		}
		want = strings.NewReplacer("application/json", "application/problem+json", "application/x-ndjson", "application/problem+json").Replace(want)
	}
	if ours := append([]string{"application/problem+json"}, types...); !found || sure && contentType != want || !slices.Contains(ours, contentType) {
		t.Errorf("the type of the answer %d is %q, want %q", got.status, contentType, want)
	}
	return contentType
}

// wanted returns which messages the address asks for, newest first, and the status of the answer if it has an acceptable format.
func wanted(number, query string) (ids []int, status int) {
	if number != "" {
		id, err := strconv.Atoi(number)
		switch {
		case err == nil && id == removed:
			return nil, http.StatusGone
		case err != nil || id < 1 || id > len(known):
			return nil, http.StatusNotFound
		}
		return []int{id}, http.StatusOK
	}
	asked, err := url.ParseQuery(query)
	ok := err == nil && !(asked.Has("before") && asked.Has("after")) && len(asked.Get("q")) <= 2000 && isText(asked.Get("q"))
	whole := func(name string, least, most, otherwise int) int {
		if !asked.Has(name) {
			return otherwise
		}
		n, err := strconv.Atoi(asked.Get(name))
		ok = ok && err == nil && least <= n && n <= most
		return n
	}
	const greatest = 1<<63 - 1
	before, after, limit := whole("before", 1, greatest, greatest), whole("after", 0, greatest-1, 0), whole("limit", 1, 1000, 50)
	on := asked.Get("on")
	if _, err := time.Parse("2006-01-02", on); !ok || on != "" && err != nil {
		return nil, http.StatusBadRequest
	}
	for id := len(known); id > 0; id-- {
		lacks := func(word string) bool { return !strings.Contains(schema.Fold(known[id-1]), word) }
		if id != removed && after < id && id < before && (on == "" || recordedAt(id).Format("2006-01-02") == on) &&
			!slices.ContainsFunc(strings.Fields(schema.Fold(asked.Get("q"))), lacks) {
			ids = append(ids, id)
		}
	}
	if n := len(ids); n > limit && !asked.Has("all") {
		if asked.Has("after") {
			return ids[n-limit:], http.StatusOK
		}
		return ids[:limit], http.StatusOK
	}
	return ids, http.StatusOK
}

// numbered match the number of a message in each of the formats.
var numbered = map[string]*regexp.Regexp{
	"text/plain":           regexp.MustCompile(`(?m)^(\d+)\t`),
	"text/html":            regexp.MustCompile(`(?:id="message-|<h1>Message )(\d+)["<]`),
	"application/json":     regexp.MustCompile(`\{"id":(\d+)`),
	"application/x-ndjson": regexp.MustCompile(`(?m)^\{"id":(\d+)`),
	"application/atom+xml": regexp.MustCompile(`<link rel="alternate" href="\./messages/(\d+)"`),
}

// numbersIn returns the numbers of the messages that an answer shows, newest first.
func numbersIn(body, contentType string) (ids []int) {
	if pattern := numbered[contentType]; pattern != nil {
		for _, match := range pattern.FindAllStringSubmatch(body, -1) {
			id, _ := strconv.Atoi(match[1])
			ids = append(ids, id)
		}
	}
	if contentType == "text/plain" || contentType == "application/x-ndjson" {
		slices.Reverse(ids)
	}
	return ids
}

// linksIn returns the addresses to which an answer leads.
func linksIn(t *testing.T, got answer, contentType string) (links []string) {
	t.Helper()
	for _, link := range got.header.Values("Link") {
		address, _, _ := strings.Cut(strings.TrimPrefix(link, "<"), ">")
		links = append(links, address)
	}
	switch contentType {
	case "application/json":
		var page listed
		if err := json.Unmarshal([]byte(got.body), &page); err != nil {
			t.Errorf("%v: %s", err, got.body)
		}
		links = append(links, page.Older, page.Newer)
	case "text/html", "application/atom+xml":
		document, err := nethtml.Parse(strings.NewReader(got.body))
		if err != nil {
			t.Fatal(err)
		}
		for node := range document.Descendants() {
			for _, attribute := range node.Attr {
				if attribute.Key == "href" || attribute.Key == "src" || attribute.Key == "action" {
					links = append(links, attribute.Val)
				}
			}
		}
	}
	return links
}

// leadsOn follows a link as a browser does. One without a query is followed once.
func (b *book) leadsOn(from *url.URL, link string, followed map[string]bool) {
	b.t.Helper()
	to, err := from.Parse(link)
	if err != nil {
		b.t.Fatal(err)
	}
	if to.Host != from.Host || to.RawQuery == "" && followed[to.Path] {
		return // the former is one of a message
	}
	followed[to.Path] = true
	r := request("GET", to.Path, to.RawQuery, "")
	r.Header.Set("Accept", browser)
	if got := b.ask(r); got.status >= 400 {
		b.t.Errorf("the link %s leads to %s, which is answered %d %s", link, to, got.status, got.body)
	}
}

// FuzzForwarded has requests from anywhere, to any name, with anything that proxies may have added.
func FuzzForwarded(f *testing.F) {
	for rules := range byte(4) {
		for _, remote := range []string{"10.0.0.1:80", "127.0.0.1:1", "9.9.9.9:443", "[2001:db8::1]:1", "[::ffff:10.1.1.1]:1", "@", "[fe80::1%eth0]:1"} {
			f.Add(rules, remote, "log.example.org", "1.1.1.1, 9.9.9.9\n10.1.1.1", "evil.example, localhost:8080", "http, https", true)
			f.Add(rules, remote, "evil.example", "unknown", "log.example.org", "https\nhttp", true)
			f.Add(rules, remote, "LocalHost.:80", "10.3.3.3,, ::ffff:10.1.1.1", "", "https", false)
		}
		for _, host := range []string{
			"", "[::1]:8080", "::1", "localhost:evil.example", "a@localhost", "127.1", "localhost.evil.example", "[evil.example]", ".localhost",
			"xlog.example.org", "log.example.org.:443", "evil.example:log.example.org", "[fe80::1%25evil.example]", "localhost\x00", "';x.localhost",
			"evil.example/.localhost",
		} {
			f.Add(rules, "10.0.0.1:80", host, "", "", "", true)
			f.Add(rules, "10.0.0.1:80", "localhost", "", host, "", true)
		}
	}
	all := []*rules{
		{},
		{hosts: []string{"log.example.org"}, proxies: []string{"10.0.0.0/8", "2001:db8::/32"}},
		{hosts: []string{"*"}, proxies: []string{"unix"}},
		{hosts: []string{"Log.example.org."}, proxies: []string{"127.0.0.1/32", "unix", "::1/128"}},
	}
	for _, r := range all {
		r.book = openFuzzed(f, handlers.Access{Hosts: r.hosts, Proxies: proxies(f, r.proxies...)})
		r.book.client.Message.Create().SetValue(secret).ExecX(f.Context())
	}
	f.Fuzz(func(t *testing.T, number byte, remote, host, forwardedFor, forwardedHost, forwardedProto string, records bool) {
		rules := all[int(number)%len(all)]
		b := rules.book.in(t)
		r := request("GET", "/", "format=html", "")
		if records {
			r = request("GET", "/record", "msg=recorded", "")
		}
		r.RemoteAddr, r.Host = remote, host
		for name, values := range map[string]string{
			"X-Forwarded-For": forwardedFor, "X-Forwarded-Host": forwardedHost, "X-Forwarded-Proto": forwardedProto,
		} {
			r.Header[name] = strings.Split(values, "\n")
		}
		got := b.ask(r)

		peer, _ := netip.ParseAddrPort(remote)
		client, names, command := peer.Addr().Unmap(), []string{host}, "curl -N "
		if rules.isProxy(client) {
			if forwarded := last(forwardedHost); forwarded != "" {
				names = append(names, forwarded)
			}
			if last(forwardedProto) == "https" {
				command += "https://"
			}
		}
		foreign, ours := false, true
		for _, name := range names {
			own, sure := rules.own(name)
			foreign, ours = foreign || sure && !own, ours && sure && own
		}
		command += names[len(names)-1] + "/live"
		refused, shows := got.status == http.StatusMisdirectedRequest, strings.Contains(got.body, secret)
		if refused && ours || !refused && foreign || shows != (!refused && !records) {
			t.Errorf("%q are the server's names: %t, or foreign: %t, and answered %d %s", names, ours, foreign, got.status, got.body)
		}
		if shows && !strings.Contains(got.body, html.EscapeString(command)) {
			t.Errorf("there is no command %s: %s", command, got.body)
		}
		values := b.values()
		if recorded := got.status == http.StatusCreated; recorded != (len(values) > 1) || recorded && !records {
			t.Errorf("answered %d, and the book holds %q", got.status, values)
		}
		if len(values) > 1 {
			b.exec("DELETE FROM messages WHERE value <> '" + secret + "'")
		}
		// An address with a zone may be quoted.
		if visitor := rules.visitor(client, forwardedFor); visitor.Zone() == "" && !strings.Contains(b.log.String(), "client="+logged(visitor)+" ") {
			t.Errorf("the log does not have %s: %s", visitor, b.log)
		}
	})
}

// logged returns an address as the log has it.
func logged(addr netip.Addr) string {
	if !addr.IsValid() {
		return `""`
	}
	return addr.String()
}

// rules are those of a book that FuzzForwarded asks.
type rules struct {
	hosts, proxies []string
	book           *book
}

// browserHost matches a Host that a browser can send: with a name or an address, and with a port.
var browserHost = regexp.MustCompile(`^(?:([a-zA-Z0-9_.-]+)|\[([0-9a-fA-F:.]+)\])(?::[0-9]*)?$`)

// own reports whether the server may be called so. It is sure only of what browsers send.
func (r rules) own(host string) (own, sure bool) {
	match := browserHost.FindStringSubmatch(host)
	if match == nil {
		return false, false
	}
	is := func(name string) bool {
		return name == "*" || strings.EqualFold(strings.TrimSuffix(name, "."), strings.TrimSuffix(match[1], "."))
	}
	return net.ParseIP(strings.TrimSuffix(match[1], ".")+match[2]) != nil || slices.ContainsFunc(append(r.hosts, "localhost"), is) ||
		strings.HasSuffix(strings.ToLower(strings.TrimSuffix(match[1], ".")), ".localhost"), true
}

// isProxy reports whether the address, which is invalid for a Unix socket, is that of a proxy.
func (r rules) isProxy(addr netip.Addr) bool {
	return slices.ContainsFunc(r.proxies, func(proxy string) bool {
		return proxy == "unix" && !addr.IsValid() || proxy != "unix" && netip.MustParsePrefix(proxy).Contains(addr)
	})
}

// visitor returns whom the client, if it is a proxy, says that it serves; and whom that one serves, if it is a proxy, too.
func (r rules) visitor(client netip.Addr, forwarded string) netip.Addr {
	hops := strings.Split(strings.ReplaceAll(forwarded, "\n", ","), ",")
	for _, hop := range slices.Backward(hops) {
		addr, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil || !r.isProxy(client) {
			break
		}
		client = addr.Unmap()
	}
	return client
}

// last returns the last element of a header.
func last(values string) string {
	elements := strings.Split(strings.ReplaceAll(values, "\n", ","), ",")
	return strings.TrimSpace(elements[len(elements)-1])
}
