package handlers_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"daybook/ent"
)

// fill records so many messages, the first without the sentence about it.
func (b *book) fill(n int) {
	b.t.Helper()
	if err := b.client.Message.MapCreateBulk(make([]int, n), func(create *ent.MessageCreate, i int) {
		create.SetValue(fmt.Sprint("message ", i+1))
	}).Exec(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
}

// listed is a page as JSON has it.
type listed struct {
	Messages     []struct{ ID int }
	Older, Newer string
}

// ids returns the numbers of the messages, newest first.
func (l listed) ids() string {
	var ids []string
	for _, m := range l.Messages {
		ids = append(ids, fmt.Sprint(m.ID))
	}
	return strings.Join(ids, " ")
}

func (b *book) page(address string) (page listed) {
	b.t.Helper()
	got := b.send("GET", "/"+address, "", "Accept", "application/json")
	if got.status != 200 {
		b.t.Fatalf("%s: %d %s", address, got.status, got.body)
	}
	if err := json.Unmarshal([]byte(got.body), &page); err != nil {
		b.t.Fatal(err)
	}
	var links []string
	for relation, address := range map[string]string{"next": page.Older, "prev": page.Newer} {
		if address != "" {
			links = append(links, fmt.Sprintf("<%s>; rel=%q", address, relation))
		}
	}
	for _, want := range links {
		if !strings.Contains(strings.Join(got.header.Values("Link"), ", "), want) {
			b.t.Errorf("%s: Link is %q, want %s", address, got.header.Values("Link"), want)
		}
	}
	if n := len(got.header.Values("Link")); n != len(links) {
		b.t.Errorf("%s: %d links, want %d", address, n, len(links))
	}
	return page
}

// TestWalkThroughTheBook goes page by page from the newest message to the oldest and back, while others record.
func TestWalkThroughTheBook(t *testing.T) {
	b := open(t)
	b.fill(100)
	stop := make(chan struct{})
	var others sync.WaitGroup
	others.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				b.record("meanwhile")
			}
		}
	})
	first := b.page("?limit=7")
	page, next := first, first.Messages[0].ID
	var addresses []string
	for {
		for _, m := range page.Messages {
			if m.ID != next {
				t.Fatalf("message %d comes where %d should", m.ID, next)
			}
			next--
		}
		if page.Older == "" {
			break
		}
		addresses = append(addresses, page.Older)
		page = b.page(page.Older)
	}
	if next != 0 {
		t.Errorf("the oldest one was %d", next+1)
	}
	for next = 1; next <= first.Messages[0].ID; page = b.page(page.Newer) {
		for i := len(page.Messages) - 1; i >= 0; i-- {
			if page.Messages[i].ID != next {
				t.Fatalf("back: message %d comes where %d should", page.Messages[i].ID, next)
			}
			next++
		}
	}
	close(stop)
	others.Wait()
	before := b.page(addresses[0]).ids()
	b.fill(10)
	if after := b.page(addresses[0]).ids(); after != before {
		t.Errorf("%s showed %s, and shows %s", addresses[0], before, after)
	}
}

func TestPagesAndTheirNeighbours(t *testing.T) {
	b := open(t)
	b.fill(10)
	for _, test := range []struct{ address, ids, older, newer string }{
		{"", "10 9 8 7 6 5 4 3 2 1", "", ""},
		{"?limit=10", "10 9 8 7 6 5 4 3 2 1", "", ""},
		{"?limit=3", "10 9 8", "?before=8&limit=3", ""},
		{"?before=8&limit=3", "7 6 5", "?before=5&limit=3", "?after=7&limit=3"},
		{"?limit=3&before=4", "3 2 1", "", "?after=3&limit=3"},
		{"?after=7&limit=3", "10 9 8", "?before=8&limit=3", ""},
		{"?after=6&limit=3", "9 8 7", "?before=7&limit=3", "?after=9&limit=3"},
		{"?after=0&limit=2", "2 1", "", "?after=2&limit=2"},
		{"?before=1", "", "", "?after=0"},
		{"?after=10", "", "?before=11", ""},
		{"?before=99", "10 9 8 7 6 5 4 3 2 1", "", ""},
		{"?after=99", "", "?before=100", ""},
		{"?limit=2&format=json", "10 9", "?before=9&format=json&limit=2", ""},
	} {
		page := b.page(test.address)
		if page.ids() != test.ids || page.Older != test.older || page.Newer != test.newer {
			t.Errorf("%s shows %q, older %q, newer %q\nwant %q, older %q, newer %q",
				test.address, page.ids(), page.Older, page.Newer, test.ids, test.older, test.newer)
		}
	}
	if text := b.send("GET", "/?before=3", "").body; !strings.HasPrefix(text, "1\t") || strings.Count(text, "\n") != 2 {
		t.Errorf("as text, the oldest first: %q", text)
	}
	html := b.send("GET", "/?before=8&limit=3", "", "Accept", browser).body
	for _, want := range []string{`rel="prev" href="?limit=3"`, `rel="next" href="?before=5&amp;limit=3"`, `href="?before=8&amp;format=text&amp;limit=3"`} {
		if !strings.Contains(html, want) {
			t.Errorf("the page has no %s", want)
		}
	}
}

func TestPageThatIsNone(t *testing.T) {
	b := open(t)
	for _, address := range []string{"?limit=0", "?limit=1001", "?limit=ten", "?limit=", "?before=0", "?before=-1", "?before=x",
		"?after=-1", "?after=99999999999999999999", "?before=1&after=1"} {
		if got := b.send("GET", "/"+address, ""); got.status != 400 || !strings.HasSuffix(got.body, ".\n") {
			t.Errorf("%s: %d %q", address, got.status, got.body)
		}
	}
	if got := b.send("GET", "/?limit=1000", ""); got.status != 200 {
		t.Errorf("the largest page: %d %s", got.status, got.body)
	}
}

func TestMessageHasNeighbours(t *testing.T) {
	b := open(t)
	b.fill(3)
	for id, want := range map[string]string{
		"1": `<../messages/2>; rel="prev"`,
		"2": `<../messages/1>; rel="next", <../messages/3>; rel="prev"`,
		"3": `<../messages/2>; rel="next"`,
	} {
		got := b.send("GET", "/messages/"+id, "", "Accept", browser)
		if links := strings.Join(got.header.Values("Link"), ", "); links != want {
			t.Errorf("message %s: Link is %s, want %s", id, links, want)
		}
		if strings.Contains(want, "next") != strings.Contains(got.body, `rel="next"`) {
			t.Errorf("message %s: the page does not lead where the header does", id)
		}
	}
}

// TestPageEndsAtAMebibyte has messages of which a thousand do not fit into memory.
func TestPageEndsAtAMebibyte(t *testing.T) {
	b := open(t)
	b.client.Message.MapCreateBulk(make([]int, 40), func(create *ent.MessageCreate, i int) {
		size := 64 << 10
		if i+1 == 20 {
			size = 3 << 20
		}
		create.SetValue(strings.Repeat("x", size))
	}).ExecX(t.Context())
	newest := b.page("?limit=1000")
	if len(newest.Messages) != 16 || newest.Older == "" {
		t.Errorf("a page has %d messages, and the next one is %q", len(newest.Messages), newest.Older)
	}
	if long := b.page("?before=21&limit=1000"); long.ids() != "20" {
		t.Errorf("the page of a message of 3 MiB has %s", long.ids())
	}
	var walked []string
	for address := "?limit=1000"; address != ""; {
		page := b.page(address)
		walked = append(walked, page.ids())
		address = page.Older
	}
	if got := len(strings.Fields(strings.Join(walked, " "))); got != 40 {
		t.Errorf("%d of 40 messages on the pages %q", got, walked)
	}
	if all := b.send("GET", "/?all", ""); strings.Count(all.body, "\n") != 40 {
		t.Errorf("all are %d of 40", strings.Count(all.body, "\n"))
	}
	f := b.follow("?after=0")
	for id := 1; id <= 40; id++ {
		if line := f.line(); !strings.HasPrefix(line, fmt.Sprint(id, "\t")) {
			t.Fatalf("a follower gets %.20s where %d should come", line, id)
		}
	}
	for _, path := range []string{"/?limit=1000&format=text", "/?limit=1000&format=html", "/?limit=1000&format=ndjson", "/feed?limit=1000"} {
		if got := b.send("GET", path, ""); got.status != 200 || len(got.body) > 2<<20 {
			t.Errorf("%s: answered %d with %d bytes", path, got.status, len(got.body))
		}
	}
}

// TestNewerLeadsHome walks up: where a page would hold the newest message, the link of the page before it leads to the first page,
// which has the form and is live. Programs get the address of the page.
func TestNewerLeadsHome(t *testing.T) {
	b := open(t)
	b.fill(10)
	for address, want := range map[string]string{
		"?before=4":                 "./",
		"?before=4&limit=3":         "?after=3&amp;limit=3",
		"?before=7&limit=3":         "?after=6&amp;limit=3",
		"?before=8&limit=3":         "?limit=3",
		"?after=4&limit=3":          "?limit=3",
		"?after=3&limit=3":          "?after=6&amp;limit=3",
		"?before=4&limit=9&q=mess":  "?limit=9&amp;q=mess",
		"?before=10&limit=1&q=mess": "?limit=1&amp;q=mess",
	} {
		if html := b.send("GET", "/"+address, "", "Accept", browser).body; !strings.Contains(html, `rel="prev" href="`+want+`"`) {
			t.Errorf("%s does not lead to %s", address, want)
		}
		if page := b.page(address); !strings.Contains(page.Newer, "after=") {
			t.Errorf("%s leads a program to %q", address, page.Newer)
		}
	}
	for _, address := range []string{"", "?after=7", "?after=9&limit=1", "?limit=3&q=mess"} {
		if html := b.send("GET", "/"+address, "", "Accept", browser).body; strings.Contains(html, `rel="prev"`) {
			t.Errorf("%s leads to what is newer", address)
		}
	}
}

// TestDays has messages at both ends of days, and a day on which a clock goes forward.
func TestDays(t *testing.T) {
	b := open(t)
	at := func(text string) time.Time {
		at, err := time.ParseInLocation("2006-01-02 15:04:05.000000", text, time.Local)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	for _, text := range []string{
		"2026-03-27 12:00:00.000000",                                                             // 1
		"2026-03-29 00:00:00.000000", "2026-03-29 12:00:00.000000", "2026-03-29 23:59:59.999999", // 2 to 4
		"2026-03-30 00:00:00.000000", "2026-04-02 00:00:00.100000", // 5, 6
	} {
		b.client.Message.Create().SetValue("message of " + text).SetRecordedAt(at(text)).ExecX(t.Context())
	}
	for _, test := range []struct{ address, ids, older, newer string }{
		{"?on=2026-03-29", "4 3 2", "?on=2026-03-27", "?on=2026-03-30"},
		{"?on=2026-03-27", "1", "", "?on=2026-03-29"},
		{"?on=2026-03-30", "5", "?on=2026-03-29", "?on=2026-04-02"},
		{"?on=2026-04-02", "6", "?on=2026-03-30", ""},
		{"?on=2026-03-28", "", "?on=2026-03-27", "?on=2026-03-29"},
		{"?on=2020-01-01", "", "", "?on=2026-03-27"},
		{"?on=2030-01-01", "", "?on=2026-04-02", ""},
		{"?on=2026-03-29&limit=2", "4 3", "?before=3&limit=2&on=2026-03-29", "?limit=2&on=2026-03-30"},
		{"?on=2026-03-29&limit=2&before=3", "2", "?limit=2&on=2026-03-27", "?after=2&limit=2&on=2026-03-29"},
		{"?on=2026-03-29&limit=2&after=1", "3 2", "?limit=2&on=2026-03-27", "?after=3&limit=2&on=2026-03-29"},
		{"?on=2026-03-29&after=100", "", "?before=101&on=2026-03-29", "?on=2026-03-30"},
		{"?on=2026-03-29&q=23", "4", "?on=2026-03-27&q=23", "?on=2026-03-30&q=23"},
		{"?on=", "6 5 4 3 2 1", "", ""},
	} {
		page := b.page(test.address)
		if page.ids() != test.ids || page.Older != test.older || page.Newer != test.newer {
			t.Errorf("%s shows %q, older %q, newer %q\nwant %q, older %q, newer %q",
				test.address, page.ids(), page.Older, page.Newer, test.ids, test.older, test.newer)
		}
	}
	for address, want := range map[string]int{"/?on=2026-03-29": 3, "/?all&on=2026-03-29": 3, "/?all&on=2026-03-29&after=3": 1, "/?all&on=2026-03-28": 0} {
		if got := b.send("GET", address, ""); got.status != 200 || strings.Count(got.body, "\n") != want {
			t.Errorf("%s: %d\n%s", address, got.status, got.body)
		}
	}
	html := b.send("GET", "/?on=2026-03-29", "", "Accept", browser).body
	if !strings.Contains(html, "Messages of 29 March 2026") || strings.Contains(html, "<textarea") {
		t.Errorf("the page of a day: %s", html)
	}
	for _, on := range []string{"2026-3-29", "2026-02-30", "today", "2026-03-29T00:00"} {
		if got := b.send("GET", "/?on="+on, ""); got.status != 400 || got.body != "on must be a day, such as 2026-11-20.\n" {
			t.Errorf("%s: %d %s", on, got.status, got.body)
		}
	}
}

// TestDayOfMessagesOutOfOrder has messages around midnight that were recorded up to a minute later than ones with greater numbers.
func TestDayOfMessagesOutOfOrder(t *testing.T) {
	b := open(t)
	want := map[string][]string{} // the messages of a day, newest first
	var days []string
	for id, first := 1, time.Date(2026, 3, 10, 0, 0, 0, 0, time.Local); len(days) < 5; first = first.AddDate(0, 0, 2) {
		for i := range 60 {
			at := first.Add(time.Duration(i-30)*3*time.Second + rand.N(59*time.Second) - 30*time.Second)
			b.client.Message.Create().SetValue("x").SetRecordedAt(at).ExecX(t.Context())
			day := at.Format(time.DateOnly)
			want[day] = slices.Insert(want[day], 0, fmt.Sprint(id))
			id++
		}
		days = slices.Sorted(maps.Keys(want))
	}
	beside := func(day string) (older, newer string) {
		for _, other := range days {
			if other < day {
				older = other
			}
			if other > day && newer == "" {
				newer = other
			}
		}
		return older, newer
	}
	leadsTo := func(link, day string) bool {
		address, err := url.Parse(link)
		return err == nil && address.Query().Get("on") == day && (day != "" || link == "")
	}
	for at := time.Date(2026, 3, 7, 0, 0, 0, 0, time.Local); at.Format(time.DateOnly) < "2026-03-20"; at = at.AddDate(0, 0, 1) {
		day := at.Format(time.DateOnly)
		older, newer := beside(day)
		page := b.page("?limit=1000&on=" + day)
		if page.ids() != strings.Join(want[day], " ") || !leadsTo(page.Older, older) || !leadsTo(page.Newer, newer) {
			t.Errorf("%s: %s, older %s, newer %s\nwant %s, %q, %q", day, page.ids(), page.Older, page.Newer, want[day], older, newer)
		}
		if all := b.send("GET", "/?all&on="+day, "").body; strings.Count(all, "\n") != len(want[day]) {
			t.Errorf("%s: all are\n%s\nwant %s", day, all, want[day])
		}
		var walked []string
		address := "?limit=7&on=" + day
		for {
			page := b.page(address)
			walked = append(walked, strings.Fields(page.ids())...)
			if !strings.Contains(page.Older, "before=") {
				if !leadsTo(page.Older, older) {
					t.Errorf("%s: the last page leads to %s, want %q", day, page.Older, older)
				}
				break
			}
			address = page.Older
		}
		if !slices.Equal(walked, want[day]) {
			t.Errorf("%s: page by page %s\nwant %s", day, walked, want[day])
		}
	}
}
