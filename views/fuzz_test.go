package views

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/net/html"

	"daybook/ent"
)

// FuzzLine reads a message back from a list as text, in which it stands between two others.
func FuzzLine(f *testing.F) {
	for _, seed := range []string{
		"hello", "a\nb\\n\t\r", "\x1b[31m\u009b\u202e", `\u001b`, "\u2028\ufeff", "\xff", "\U0001f44b\U000e0041",
		"x\n8\t2026-11-20T17:42:12Z\tpaid", "a\xe2\x80", "\u200c\u200d\u00ad", "\ud7ff\ue000\U0010ffff",
	} {
		f.Add(seed, 7, int64(1_795_196_532_000_120_000))
	}
	f.Add("long ago", -1, int64(-1_000_000_000_000_000_001))
	f.Fuzz(func(t *testing.T, value string, id int, nanoseconds int64) {
		at := time.Unix(0, nanoseconds).In(time.FixedZone("", 3600))
		list := Messages{Messages: []*ent.Message{{ID: 3, Value: "after"}, {ID: id, Value: value, RecordedAt: at}, {ID: 1, Value: "before"}}}
		lines := strings.Split(string(list.AppendText(nil)), "\n")
		if len(lines) != 4 || !strings.HasPrefix(lines[0], "1\t") || !strings.HasPrefix(lines[2], "3\t") || lines[3] != "" {
			t.Fatalf("%q are not three lines", lines)
		}
		fields := strings.Split(lines[1], "\t")
		if want := []string{fmt.Sprint(id), at.UTC().Format("2006-01-02T15:04:05Z")}; len(fields) != 3 || !slices.Equal(fields[:2], want) {
			t.Fatalf("%q are not three fields, of which the first two are %q", fields, want)
		}
		for _, r := range fields[2] {
			if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) && r != '\u200c' && r != '\u200d' {
				t.Errorf("the line of %q contains %U", value, r)
			}
		}
		// A byte that is not UTF-8 becomes U+FFFD.
		if got, want := unescape(t, fields[2]), string([]rune(value)); got != want {
			t.Errorf("%q unescaped is %q, want %q", fields[2], got, want)
		}
	})
}

// unescape undoes the escapes as the contract describes them, and fails on any other.
func unescape(t *testing.T, text string) string {
	var value bytes.Buffer
	for text != "" {
		before, escape, found := strings.Cut(text, `\`)
		value.WriteString(before)
		if !found {
			break
		}
		if escape == "" {
			t.Fatal("a backslash stands at the end")
		}
		length := 1
		switch escape[0] {
		case '\\':
			value.WriteByte('\\')
		case 'n':
			value.WriteByte('\n')
		case 'r':
			value.WriteByte('\r')
		case 't':
			value.WriteByte('\t')
		case 'u':
			length = 5
			code, err := strconv.ParseUint(escape[1:length], 16, 16)
			if err != nil {
				t.Fatal(err)
			}
			if utf16.IsSurrogate(rune(code)) { // the second one follows
				if length = 11; len(escape) < length || escape[5:7] != `\u` {
					t.Fatalf("half a surrogate pair in %q", escape)
				}
				second, err := strconv.ParseUint(escape[7:length], 16, 16)
				if err != nil {
					t.Fatal(err)
				}
				value.WriteRune(utf16.DecodeRune(rune(code), rune(second)))
				break
			}
			if strings.ContainsRune("\\\n\r\t", rune(code)) {
				t.Fatalf("%q has a shorter escape", rune(code))
			}
			value.WriteRune(rune(code))
		default:
			t.Fatalf("unknown escape in %q", escape)
		}
		text = escape[length:]
	}
	return value.String()
}

// FuzzJSON compares a list with what encoding/json makes of it.
func FuzzJSON(f *testing.F) {
	for _, seed := range []string{
		"", "hello world", `a "quoted" \word`, "a\n\r\t\b\f\x00\x1b\x7f", "<b>&amp;</b>", "grüße, 世界 👋🏽 שלום",
		"a\u2028b", "a\u2029b", "“a” – b…", "\ufeff\ufffd", "a\xffb", "\xe2\x80", "\xed\xa0\x80",
	} {
		f.Add(seed, 7, int64(1_795_196_532_000_120_000))
	}
	f.Add("a nanosecond before midnight", 1, int64(1_795_219_199_999_999_999))
	f.Add("long ago", -1, int64(-1_000_000_000_000_000_001))
	type object struct {
		ID         int    `json:"id"`
		Value      string `json:"value"`
		RecordedAt string `json:"recorded_at"`
	}
	type list struct {
		Messages []object `json:"messages"`
		Older    string   `json:"older,omitempty"`
	}
	f.Fuzz(func(t *testing.T, value string, id int, nanoseconds int64) {
		at := time.Unix(0, nanoseconds).In(time.FixedZone("", 3600))
		var want bytes.Buffer
		encoder := json.NewEncoder(&want)
		encoder.SetEscapeHTML(false)
		o := object{id, value, at.UTC().Format("2006-01-02T15:04:05.000000Z07:00")}
		if err := encoder.Encode(list{[]object{o, o}, value}); err != nil {
			t.Fatal(err)
		}
		m := &ent.Message{ID: id, Value: value, RecordedAt: at}
		got := Messages{Messages: []*ent.Message{m, m}, Older: value}.AppendJSON([]byte("before "))
		if string(got)+"\n" != "before "+want.String() {
			t.Errorf("got  %s\nwant %s", got, want.String())
		}
	})
}

// FuzzValue reads a message, and what it links to, back from each page that shows it.
func FuzzValue(f *testing.F) {
	for _, seed := range []string{
		"hello <b>&amp;", "see (https://a.b/c_(d)).", "\n\nif x {\n\ty()\n\tz()\r\n}", "https://" + strings.Repeat("a", 3000),
		strings.Repeat("line\r", 30), strings.Repeat("天", 2001) + "http://[::1]/", `"><script>https://a.b/"><script>`,
		strings.Repeat("http://a.b/é\u0301 ", 200), "http://a.b'onclick=1", "a\u2028b\u202e http://a\u202eb", "</pre>\t\n\t</p>\n\t<p>",
		"</title><script>alert(1)</script>", "</textarea><script>", "a\r\ndata: b\n\nevent: removed\ndata: 7", "]]>\x01\ufffe</content>",
	} {
		f.Add(seed, "a http")
		f.Add(seed, "")
	}
	const plain = "hello"
	f.Fuzz(func(t *testing.T, value, query string) {
		if both := value + query; !utf8.ValidString(both) || strings.Contains(both, "\x00") || strings.TrimSpace(value) == "" || len(query) > 200 {
			t.Skip() // nothing that is recorded, or looked for
		}
		page, list := own(t, value, time.UTC), render(t, value, NewWords(query))
		want, whole, cut := textOf(value), shownText(t, page), shownText(t, list)
		if whole.text != want {
			t.Errorf("%q is shown as %q", want, whole.text)
		}
		rest, isPrefix := strings.CutPrefix(want, cut.text)
		if !isPrefix || strings.Count(cut.text, "\n") >= maxLines || utf8.RuneCountInString(cut.text) > maxCharacters {
			t.Errorf("%q is cut to %q", want, cut.text)
		}
		if (more(want, len(want)-len(rest)) == "") != (rest == "") {
			t.Errorf("%q: what is left out is %q", want, more(want, len(want)-len(rest)))
		}
		if len(cut.links) > len(whole.links) || !slices.Equal(cut.links, whole.links[:len(cut.links)]) {
			t.Errorf("%q: the links of a list are %q, and whole they are %q", want, cut.links, whole.links)
		}
		if got, want := around(t, page), around(t, own(t, plain, time.UTC)); got != want {
			t.Errorf("%q changes its page to\n%s\nfrom\n%s", value, got, want)
		}
		if got, want := around(t, list), around(t, render(t, plain, NewWords(query))); got != want {
			t.Errorf("%q changes the list to\n%s\nfrom\n%s", value, got, want)
		}
		checkEvent(t, value)
		checkFeed(t, value, whole.links)
		checkForm(t, value, query)
	})
}

// around returns the elements and texts of a page that are not the message, its title, or the length of what is left out of it.
func around(t *testing.T, page string) string {
	t.Helper()
	var around strings.Builder
	var write func(node *html.Node)
	write = func(node *html.Node) {
		class := attributeOf(node, "class")
		if class == "value" || class == "value code" || class == "more" || node.Data == "title" {
			return
		}
		fmt.Fprintln(&around, node.Type, node.Data, node.Attr)
		for child := range node.ChildNodes() {
			write(child)
		}
	}
	write(parsed(t, page))
	return around.String()
}

func parsed(t testing.TB, page string) *html.Node {
	t.Helper()
	document, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	return document
}

// checkEvent reads the server-sent event as a browser does, which takes CR for the end of a line, too.
func checkEvent(t *testing.T, value string) {
	t.Helper()
	event := string(Message{Message: &ent.Message{ID: 7, Value: value, RecordedAt: at}, Zone: time.UTC}.Event())
	lines := strings.Split(strings.ReplaceAll(event, "\r", "\n"), "\n")
	for i, line := range lines[1 : len(lines)-2] {
		data, found := strings.CutPrefix(line, "data: ")
		if !found {
			t.Fatalf("%q has a line without data in its event %q", value, event)
		}
		lines[1+i] = data
	}
	if html := strings.Join(lines[1:len(lines)-2], "\n"); lines[0] != "id: 7" || !strings.HasSuffix(event, "\n\n") || html != render(t, value, nil) {
		t.Errorf("%q has the event %q", value, event)
	}
}

// checkFeed reads the message back from a feed. XML has no place for most control characters.
func checkFeed(t *testing.T, value string, links []string) {
	t.Helper()
	encoded, err := xml.Marshal(Messages{Messages: []*ent.Message{{ID: 7, Value: value, RecordedAt: at}}}.Atom("./", "localhost"))
	if err != nil {
		t.Fatal(err)
	}
	var feed struct {
		Entry []struct {
			Content string `xml:"content"`
		} `xml:"entry"`
	}
	if err := xml.Unmarshal(encoded, &feed); err != nil || len(feed.Entry) != 1 {
		t.Fatalf("%q has the feed %s: %v", value, encoded, err)
	}
	var got []string
	document := parsed(t, feed.Entry[0].Content)
	for node := range document.Descendants() {
		if node.Type != html.ElementNode {
			continue
		}
		if !slices.Contains([]string{"html", "head", "body", "p", "pre", "br", "a"}, node.Data) || len(node.Attr) > 0 && node.Data != "a" {
			t.Errorf("%q has a %s %v in a feed", value, node.Data, node.Attr)
		}
		if node.Data == "a" {
			got = append(got, attributeOf(node, "href"))
		}
	}
	inXML := strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' && r != '\n' || r == '\ufffe' || r == '\uffff' {
			return '\ufffd'
		}
		return r
	}, textOf(value))
	if text := textIn(document); text != inXML || !slices.Equal(got, links) {
		t.Errorf("%q is %q in a feed, and links to %q, want %q", inXML, text, got, links)
	}
}

// checkForm reads what was typed back from the fields that show it again.
func checkForm(t *testing.T, value, query string) {
	t.Helper()
	text, asked := textOf(value), textOf(query)
	for _, test := range []struct {
		view View
		want map[string]string
	}{
		{Form{Value: value, Key: query, Problem: Problem{Detail: value}}, map[string]string{
			"msg": text, "key": asked, "problem": text, "q": "", "on": "",
		}},
		{Messages{Query: url.Values{"q": {query}, "on": {value}}}, map[string]string{"q": asked, "on": text}},
	} {
		var page strings.Builder
		if err := test.view.HTML("./").Render(t.Context(), &page); err != nil {
			t.Fatal(err)
		}
		got, scripts := map[string]string{}, 0
		for node := range parsed(t, page.String()).Descendants() {
			switch name := attributeOf(node, "name"); node.Data {
			case "textarea":
				got[name] = textIn(node)
			case "input":
				got[name] = attributeOf(node, "value")
			case "script":
				scripts++
			}
			if attributeOf(node, "role") == "alert" {
				got["problem"] = textIn(node)
			}
		}
		if !maps.Equal(got, test.want) || scripts != 1 {
			t.Errorf("%d scripts, and the fields show %q, want %q", scripts, got, test.want)
		}
	}
}
