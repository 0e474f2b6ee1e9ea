package handlers_test

import (
	"encoding/xml"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestUnchangedAnswerIsNotSentAgain(t *testing.T) {
	b := open(t)
	b.fill(3)
	for _, address := range []string{"/", "/?limit=2", "/?before=3", "/?q=message", "/messages/2", "/feed", "/?format=atom&limit=1&before=3"} {
		for _, accept := range []string{"text/plain", browser, "application/json", "application/x-ndjson"} {
			first := b.send("GET", address, "", "Accept", accept)
			if strings.Contains(first.body, `name="key"`) {
				continue // TestEachFormHasItsOwnKey
			}
			tag := first.header.Get("ETag")
			for _, known := range []string{tag, `"other", ` + tag, strings.TrimPrefix(tag, "W/"), "*"} {
				for _, method := range []string{"GET", "HEAD"} {
					got := b.send(method, address, "", "Accept", accept, "If-None-Match", known)
					if got.status != 304 || got.body != "" || got.header.Get("ETag") != tag {
						t.Errorf("%s %s %s, known is %s: %d %s", method, address, accept, known, got.status, got.header.Get("ETag"))
					}
				}
			}
			if got := b.send("GET", address, "", "Accept", accept, "If-None-Match", `"other"`); got.status != 200 {
				t.Errorf("%s %s: another tag is answered %d", address, accept, got.status)
			}
		}
	}
	asText, asJSON := b.send("GET", "/", ""), b.send("GET", "/?format=json", "")
	if asText.header.Get("ETag") == asJSON.header.Get("ETag") {
		t.Error("two formats have one tag")
	}
	b.record("another")
	for _, address := range []string{"/", "/feed"} {
		if got := b.send("GET", address, "", "If-None-Match", asText.header.Get("ETag")); got.status != 200 {
			t.Errorf("%s has changed, and is answered %d", address, got.status)
		}
	}
	if got := b.send("POST", "/record", "hello", "If-None-Match", "*"); got.status != 201 {
		t.Errorf("recording is answered %d", got.status)
	}
	if got := b.send("GET", "/messages/9", "", "If-None-Match", "*"); got.status != 404 || got.header.Get("ETag") != "" {
		t.Errorf("what is not there is answered %d", got.status)
	}
}

// TestEachFormHasItsOwnKey asks for the form again, as a second tab does, in which it must have a key of its own.
func TestEachFormHasItsOwnKey(t *testing.T) {
	b := open(t)
	for _, address := range []string{"/", "/?limit=2", "/record"} {
		first := b.send("GET", address, "", "Accept", browser)
		again := b.send("GET", address, "", "Accept", browser, "If-None-Match", first.header.Get("ETag"))
		if again.status != 200 || again.body == first.body {
			t.Errorf("%s: the form is answered %d, with the same key: %v", address, again.status, again.body == first.body)
		}
	}
}

func TestLastModified(t *testing.T) {
	b := open(t)
	b.fill(1)
	got := b.send("GET", "/messages/1", "")
	modified, err := http.ParseTime(got.header.Get("Last-Modified"))
	if err != nil || time.Since(modified) > time.Minute {
		t.Fatalf("%q: %v", got.header.Get("Last-Modified"), err)
	}
	for since, status := range map[time.Time]int{modified: 304, modified.Add(time.Hour): 304, modified.Add(-time.Second): 200} {
		if got := b.send("GET", "/messages/1", "", "If-Modified-Since", since.Format(http.TimeFormat)); got.status != status {
			t.Errorf("since %s: %d, want %d", since, got.status, status)
		}
	}
	if got := b.send("GET", "/messages/1", "", "If-Modified-Since", modified.Format(http.TimeFormat), "If-None-Match", `"x"`); got.status != 200 {
		t.Errorf("the tag is another one, and the answer %d", got.status)
	}
	for _, address := range []string{"/", "/messages/1"} { // pages, which change with what is recorded later
		if got := b.send("GET", address, "", "Accept", browser).header.Get("Last-Modified"); got != "" {
			t.Errorf("%s says that it was last modified %s", address, got)
		}
	}
}

func TestFeed(t *testing.T) {
	b := open(t)
	type link struct {
		Rel  string `xml:"rel,attr"`
		Href string `xml:"href,attr"`
	}
	type feed struct {
		XMLName xml.Name  `xml:"http://www.w3.org/2005/Atom feed"`
		ID      string    `xml:"id"`
		Updated time.Time `xml:"updated"`
		Links   []link    `xml:"link"`
		Entries []struct {
			ID      string    `xml:"id"`
			Title   string    `xml:"title"`
			Content string    `xml:"content"`
			Updated time.Time `xml:"updated"`
			Link    link      `xml:"link"`
		} `xml:"entry"`
	}
	read := func(address string) (f feed) {
		t.Helper()
		got := b.send("GET", address, "", "Accept", "text/html")
		if got.status != 200 || got.header.Get("Content-Type") != "application/atom+xml; charset=utf-8" {
			t.Fatalf("%s: %d %s", address, got.status, got.header.Get("Content-Type"))
		}
		if err := xml.Unmarshal([]byte(got.body), &f); err != nil {
			t.Fatalf("%s: %v", address, err)
		}
		return f
	}
	if empty := read("/feed"); empty.ID == "" || empty.Updated.Unix() != 0 || len(empty.Entries) != 0 {
		t.Errorf("of an empty book: %+v", empty)
	}
	b.record("first")
	b.record("second <b>\x1b[31m\nof two lines")
	b.record(strings.Repeat("é", 200))
	got := read("/feed")
	if len(got.Entries) != 3 || got.Updated != got.Entries[0].Updated {
		t.Fatalf("%+v", got)
	}
	second := got.Entries[1]
	const content = "<p>second &lt;b&gt;\ufffd[31m<br>\nof two lines</p>"
	if second.Title != "second <b>\ufffd[31m" || second.Content != content || second.Link.Href != "./messages/2" {
		t.Errorf("%+v", second)
	}
	if title := got.Entries[0].Title; title != strings.Repeat("é", 80)+"…" {
		t.Errorf("a long message has the title %s", title)
	}
	ids := map[string]bool{got.ID: true}
	for i, entry := range got.Entries {
		ids[entry.ID] = strings.HasPrefix(entry.ID, "urn:uuid:")
		if again := read("/?format=atom").Entries[i].ID; again != entry.ID {
			t.Errorf("entry %d was %s, and is %s", i, entry.ID, again)
		}
	}
	if len(ids) != 4 {
		t.Errorf("the ids are not all different: %v", ids)
	}
	for _, link := range got.Links {
		address, err := url.Parse(b.url + "/feed")
		if err != nil {
			t.Fatal(err)
		}
		if address, err = address.Parse(link.Href); err != nil || b.send("GET", address.RequestURI(), "").status != 200 {
			t.Errorf("%+v leads nowhere: %v", link, err)
		}
	}
	if found := read("/feed?q=FIRST&limit=1"); len(found.Entries) != 1 || found.Entries[0].Title != "first" {
		t.Errorf("of a search: %+v", found)
	}
	if page := b.send("GET", "/", "", "Accept", browser).body; !strings.Contains(page, `<link rel="alternate" type="application/atom+xml" title="Daybook" href="./feed">`) {
		t.Error("the page does not name the feed")
	}
	if refused := b.send("GET", "/feed?limit=x", ""); refused.status != 400 || refused.body != "limit must be a whole number from 1 to 1000.\n" {
		t.Errorf("%d %s", refused.status, refused.body)
	}
}
