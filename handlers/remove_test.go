package handlers_test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	daybook "daybook/book"
	"daybook/database/databasetest"
	"daybook/handlers"
)

// openWithToken opens a book from which whoever shows the token can remove, as all requests of the book do.
func openWithToken(t *testing.T) *book {
	t.Helper()
	return openWithTokenAt(t, databasetest.New(t))
}

func openWithTokenAt(t *testing.T, url string) *book {
	t.Helper()
	const token = "0123456789abcdef"
	b := openWith(t, url, handlers.Access{Token: token})
	b.token = token
	return b
}

// remove removes a message.
func (b *book) remove(id int) {
	b.t.Helper()
	if got := b.send("DELETE", fmt.Sprint("/messages/", id), ""); got.status != 200 {
		b.t.Fatalf("remove %d: %d %s", id, got.status, got.body)
	}
}

// shows checks the status and the body of an answer.
func (b *book) shows(status int, body, method, path string, headers ...string) {
	b.t.Helper()
	if got := b.send(method, path, "", headers...); got.status != status || !strings.Contains(got.body, body) {
		b.t.Errorf("%s %s: %d %q, want %d %q", method, path, got.status, got.body, status, body)
	}
}

// TestRemovedMessageIsGone looks at every address that might show it.
func TestRemovedMessageIsGone(t *testing.T) {
	b := openWithToken(t)
	for _, value := range []string{"one", "secret two", "three"} {
		b.record(value)
	}
	b.shows(200, "Removed: secret two\n", "DELETE", "/messages/2")
	b.record("five")
	day := time.Now().Format(time.DateOnly)
	for path, want := range map[string]string{
		"?limit=10": "5 3 1", "?after=0": "5 3 1", "?after=1": "5 3", "?after=4": "5", "?before=5": "3 1", "?before=5&limit=1": "3",
		"?all": "5 3 1", "?all&after=1": "5 3", "?q=secret": "", "?q=was+removed": "", "?on=" + day: "5 3 1",
	} {
		if got := b.send("GET", "/"+path, "").body; strings.Contains(got, "secret") || strings.Contains(got, "removed") {
			t.Errorf("%s: %s", path, got)
		}
		if strings.Contains(path, "all") {
			continue // it has no page
		}
		if got := b.page(path).ids(); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	for _, path := range []string{"/feed", "/?format=html", "/?all", "/?all&format=json", "/messages/1?format=html"} {
		if got := b.send("GET", path, ""); got.status != 200 || strings.Contains(got.body, "secret") || strings.Contains(got.body, "was removed") {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	for path, link := range map[string]string{"/messages/1": `<../messages/3>; rel="prev"`, "/messages/5": `<../messages/3>; rel="next"`} {
		if got := b.send("GET", path, "").header.Values("Link"); len(got) != 1 || got[0] != link {
			t.Errorf("%s: Link %q, want %q", path, got, link)
		}
	}
	for _, accept := range []string{"*/*", "application/json", browser} {
		for _, request := range [][2]string{
			{"GET", ""}, {"GET", "/delete"}, {"DELETE", ""}, {"POST", "/delete"},
		} {
			b.shows(410, "Message 2 was removed.", request[0], "/messages/2"+request[1], "Accept", accept)
			b.shows(404, "There is no message 4.", request[0], "/messages/4"+request[1], "Accept", accept) // the removal
			b.shows(404, "There is no message 9.", request[0], "/messages/9"+request[1], "Accept", accept)
			b.shows(404, "There is no message x.", request[0], "/messages/x"+request[1], "Accept", accept)
		}
		b.shows(410, "", "HEAD", "/messages/2", "Accept", accept)
	}
}

// TestDayWithoutMessages has a day whose only message was removed, and one that has nothing but the removal.
func TestDayWithoutMessages(t *testing.T) {
	b := openWithToken(t)
	b.fill(3)
	for i := range 3 {
		b.exec(fmt.Sprintf("UPDATE messages SET recorded_at = '2026-11-%d 12:00:00+00:00' WHERE id = %d", 17+i, i+1))
	}
	b.remove(2)
	if got := b.page("?on=2026-11-17"); got.ids() != "1" || got.Newer != "?on=2026-11-19" {
		t.Errorf("the day before: %+v", got)
	}
	if got := b.page("?on=2026-11-18"); got.ids() != "" || got.Older != "?on=2026-11-17" || got.Newer != "?on=2026-11-19" {
		t.Errorf("the day: %+v", got)
	}
	b.exec("UPDATE messages SET recorded_at = '2026-11-20 12:00:00+00:00' WHERE id = 4")
	b.record("today")
	today := "?on=" + time.Now().Format(time.DateOnly)
	if got := b.page("?on=2026-11-19"); got.ids() != "3" || got.Newer != today {
		t.Errorf("the day before the removal: %+v", got)
	}
	if got := b.page(today); got.ids() != "5" || got.Older != "?on=2026-11-19" {
		t.Errorf("the day after the removal: %+v", got)
	}
}

// TestNumberIsNotUsedAgain removes the newest message, each time the only one.
func TestNumberIsNotUsedAgain(t *testing.T) {
	url := databasetest.New(t)
	for i := range 3 {
		b := openWithTokenAt(t, url)
		if got := b.send("POST", "/record", "hello"); !strings.HasSuffix(got.header.Get("Location"), fmt.Sprint("/", 2*i+1)) {
			t.Errorf("recorded at %s", got.header.Get("Location"))
		}
		b.remove(2*i + 1)
	}
	openAt(t, url).shows(410, "Message 1 was removed.", "GET", "/messages/1")
}

// TestKeyDiesWithItsMessage records with a key, removes, and records anew.
func TestKeyDiesWithItsMessage(t *testing.T) {
	b := openWithToken(t)
	for i, value := range []string{"hello", "hello", "another"} {
		for range 2 {
			if got := b.send("POST", "/record", value, "Idempotency-Key", "k"); got.status != 201 || !strings.HasSuffix(got.header.Get("Location"), fmt.Sprint("/", 2*i+1)) {
				t.Errorf("%q: %d %s", value, got.status, got.header.Get("Location"))
			}
		}
		b.remove(2*i + 1)
	}
}

func TestRemovalAnswersInEachFormat(t *testing.T) {
	b := openWithToken(t)
	for range 3 {
		b.record("a\tb")
	}
	b.shows(200, "1\t20", "GET", "/messages/1/delete")
	b.shows(200, `{"id":1,"value":"a\tb",`, "GET", "/messages/1/delete", "Accept", "application/json")
	b.shows(200, `action="../../messages/1/delete"`, "GET", "/messages/1/delete", "Accept", browser)
	b.shows(406, "", "DELETE", "/messages/1", "Accept", "image/png")
	b.shows(200, `Removed: a\tb`+"\n", "DELETE", "/messages/1")
	if got := b.send("DELETE", "/messages/2", "", "Accept", "application/json", "If-None-Match", "*"); got.status != 200 ||
		!strings.HasPrefix(got.body, `{"id":2,"value":"a\tb",`) || got.header.Get("ETag") != "" {
		t.Errorf("as JSON: %d %v %q", got.status, got.header, got.body)
	}
	if got := b.send("POST", "/messages/3/delete", "", "Accept", browser); got.status != 303 || got.header.Get("Location") != "../../" {
		t.Errorf("the form: %d %v", got.status, got.header)
	}
	b.shows(200, "", "GET", "/")
	b.shows(410, "", "GET", "/messages/3")
}

// TestOnlyWhoShowsTheTokenRemoves looks at the link, too.
func TestOnlyWhoShowsTheTokenRemoves(t *testing.T) {
	const link = `href="../messages/1/delete"`
	b := openWithToken(t)
	b.record("hello")
	open := openAt(t, b.at)
	for _, request := range [][2]string{{"DELETE", "/messages/1"}, {"GET", "/messages/1/delete"}, {"POST", "/messages/1/delete"}} {
		b.shows(401, "This needs the token.", request[0], request[1], "Authorization", "")
		b.shows(401, "This is not the token.", request[0], request[1], "Authorization", "Bearer no")
		open.shows(403, "daybook remove", request[0], request[1])
	}
	b.shows(403, "", "POST", "/messages/1/delete", "Origin", "https://elsewhere.example")
	for page, want := range map[string]bool{
		b.send("GET", "/messages/1", "", "Accept", browser).body:                         true,
		b.send("GET", "/messages/1", "", "Accept", browser, "Authorization", "").body:    false,
		open.send("GET", "/messages/1", "", "Accept", browser, "Authorization", "").body: false,
	} {
		if strings.Contains(page, link) != want {
			t.Errorf("the link is there: %t\n%s", !want, page)
		}
	}
	b.shows(200, "hello", "GET", "/")
}

// TestRemovalThatFailsLeavesTheMessage has its COMMIT fail, or its second statement.
func TestRemovalThatFailsLeavesTheMessage(t *testing.T) {
	b := openWithToken(t)
	b.record("deferred")
	b.record("at once")
	b.record("kept")
	b.exec("CREATE TABLE child (message BIGINT REFERENCES messages (id) DEFERRABLE INITIALLY DEFERRED, n INTEGER CHECK (n > 0))")
	b.onInsert("new.removes < 3", "INSERT INTO child VALUES (CASE new.removes WHEN 1 THEN -1 END, new.removes - 3 + new.removes % 2 * 9);")
	f := b.follow("?after=2", "Accept", "text/event-stream")
	f.event()
	for id := 1; id <= 2; id++ {
		b.shows(500, "nothing was changed", "DELETE", fmt.Sprint("/messages/", id))
		b.shows(200, "", "GET", fmt.Sprint("/messages/", id))
	}
	if got := b.page("").ids(); got != "3 2 1" {
		t.Errorf("the book has %s", got)
	}
	b.record("next")
	if id, data := f.event(); !strings.Contains(data, "next") {
		t.Errorf("a follower gets %s %s", id, data)
	}
}

// TestSameMessageIsRemovedOnce sends several requests at the same moment.
func TestSameMessageIsRemovedOnce(t *testing.T) {
	url := databasetest.New(t)
	books := []*book{openWithTokenAt(t, url), openWithTokenAt(t, url)}
	const messages, times = 20, 4
	books[0].fill(messages)
	var all sync.WaitGroup
	var mu sync.Mutex
	answers := map[int]int{}
	for id := 1; id <= messages; id++ {
		for i := range times {
			all.Go(func() {
				got := books[i%2].send("DELETE", fmt.Sprint("/messages/", id), "")
				mu.Lock()
				defer mu.Unlock()
				answers[got.status]++
			})
		}
	}
	all.Wait()
	if answers[200] != messages || answers[410] != messages*(times-1) {
		t.Errorf("%v", answers)
	}
	if n := books[0].number("SELECT count(*) FROM messages WHERE removes IS NOT NULL"); n != messages {
		t.Errorf("%d removals", n)
	}
}

// TestUnknownRemoval loses the answer to COMMIT, after the server has committed.
func TestUnknownRemoval(t *testing.T) {
	b, p := openBehindProxy(t)
	b = openWithTokenAt(t, b.at)
	b.record("hello")
	p.lose.Store(1000)
	b.shows(500, "It is not known whether the message was removed", "DELETE", "/messages/1")
	p.lose.Store(0)
	b.shows(410, "", "GET", "/messages/1")
}

// TestFollowersOfARemoval has followers in each format: up to date, behind, and of another process.
func TestFollowersOfARemoval(t *testing.T) {
	url := databasetest.New(t)
	b, other := openWithTokenAt(t, url), openAt(t, url)
	for _, value := range []string{"one", "two", "three"} {
		b.record(value)
	}
	const events = "text/event-stream"
	var browsers, lines []*follower
	for _, b := range []*book{b, other} {
		browsers = append(browsers, b.follow("?after=2", "Accept", events))
		lines = append(lines, b.follow("?after=2"), b.follow("?after=2&format=ndjson"))
	}
	for _, f := range browsers {
		f.event() // three
	}
	for _, f := range lines {
		f.line()
	}
	b.remove(3)
	for _, f := range browsers {
		for _, want := range []string{"id: 4", "event: removed", "data: 3", ""} {
			line := f.line()
			for strings.HasPrefix(line, ":") { // a heartbeat, and the end of it
				f.line()
				line = f.line()
			}
			if line != want {
				t.Fatalf("a browser gets %q, want %q", line, want)
			}
		}
	}
	for _, b := range []*book{b, other} { // the hub of each has seen the removal
		lines = append(lines, b.follow("?after=2"), b.follow("?after=3"), b.follow("?after=2&format=ndjson"))
		browsers = append(browsers, b.follow("?after=4", "Accept", events))
		late := b.follow("?after=1", "Accept", events)
		if id, data := late.event(); id != "2" || !strings.Contains(data, "two") {
			t.Errorf("one that is behind gets %s %q", id, data)
		}
		if id, data := late.event(); id != "4" || data != "3" {
			t.Errorf("one that is behind gets %s %q", id, data)
		}
	}
	b.record("five")
	for _, f := range lines {
		if line := f.line(); !strings.Contains(line, "five") {
			t.Errorf("a line is %q", line)
		}
	}
	for _, f := range browsers {
		if id, data := f.event(); id != "5" || !strings.Contains(data, "five") {
			t.Errorf("a browser gets %s %q", id, data)
		}
	}
}

// TestRemovedMessageIsNotSharedBeforeItsOrderIsSettled has the removal wait for a smaller number.
func TestRemovedMessageIsNotSharedBeforeItsOrderIsSettled(t *testing.T) {
	postgresOnly(t)
	b := openWithToken(t)
	b.record("one")
	b.follow("?after=0").line()
	commit, _ := b.leave("open")
	b.remove(1)
	late := b.follow("?after=0")
	commit()
	if line := late.line(); !strings.HasSuffix(line, "\topen") {
		t.Errorf("a follower gets %q", line)
	}
}

// TestRemovedTextIsNotInTheFile looks at the bytes of the database's file, when it is closed.
func TestRemovedTextIsNotInTheFile(t *testing.T) {
	databasetest.SQLiteOnly(t)
	path := databasetest.New(t)
	closed := func(what string, use func(b *book)) (file string) {
		t.Run(what, func(t *testing.T) { use(openWithTokenAt(t, path)) })
		limit := time.Now().Add(10 * time.Second)
		for _, err := os.Stat(path + "-wal"); err == nil; _, err = os.Stat(path + "-wal") { // a connection may still be in use
			if time.Now().After(limit) {
				t.Fatal("the write-ahead log stays")
			}
			time.Sleep(time.Millisecond)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	if file := closed("record", func(b *book) {
		for _, value := range []string{"before", "a secret word", "between", strings.Repeat("a secret of many words ", 2000), "after"} {
			b.client.Message.Create().SetValue(value).ExecX(b.t.Context())
		}
	}); strings.Count(file, "secret") < 2 {
		t.Fatal("the text of the messages is not in the file")
	}
	file := closed("remove", func(b *book) {
		b.remove(2)
		b.remove(4)
	})
	if n := strings.Count(file, "secret"); n > 0 || !strings.Contains(file, "between") {
		t.Errorf("the text is still %d times in the file", n)
	}
}

// entries returns JavaScript that says whether the page shows these messages, and nothing of others.
func entries(ids ...int) string {
	return fmt.Sprintf(`[...document.querySelectorAll(".entry")].map(({id}) => Number(id.slice("message-".length))).join() === %q`,
		strings.ReplaceAll(strings.Trim(fmt.Sprint(ids), "[]"), " ", ","))
}

// TestOpenPageDropsWhatIsRemoved has days with several messages, and with one.
func TestOpenPageDropsWhatIsRemoved(t *testing.T) {
	b, tab := openWithToken(t), openTabOnBoth(t)
	b.fill(3)
	b.exec("UPDATE messages SET recorded_at = '2026-11-19 12:00:00+00:00' WHERE id = 1")
	tab.do(chromedp.Navigate(b.url))
	tab.until(entries(3, 2, 1))
	b.came.waitFor(t, 1, "/live?after=3")
	b.remove(2)
	tab.until(entries(3, 1) + ` && document.querySelectorAll(".day").length === 2`)
	b.remove(1)
	tab.until(entries(3) + ` && document.querySelectorAll(".day").length === 1`)
	b.record("six")
	tab.until(entries(6, 3) + ` && document.querySelector(".unseen[role=status]").textContent.includes("six")`)
	b.remove(6)
	b.remove(3)
	tab.until(entries() + ` && document.querySelector(".empty .command") && !document.querySelector(".day, .zone")`)
	b.record("nine")
	tab.until(entries(9) + ` && !document.querySelector(".empty")`)
	if !tab.is(`!document.body.textContent.includes("six")`) {
		t.Error("the text of a removed message is still in the page")
	}
}

// TestOpenPageShowsOlderMessagesAfterTheRestIsRemoved removes a whole page at once.
func TestOpenPageShowsOlderMessagesAfterTheRestIsRemoved(t *testing.T) {
	b, tab := browse(t)
	b.fill(60)
	tab.do(chromedp.Navigate(b.url))
	b.came.waitFor(t, 1, "/live?after=60")
	var newest []int
	for id := 11; id <= 60; id++ {
		newest = append(newest, id)
	}
	if _, err := daybook.RemoveAll(t.Context(), b.driver, newest...); err != nil {
		t.Fatal(err)
	}
	tab.until(entries(10, 9, 8, 7, 6, 5, 4, 3, 2, 1))
}

// TestRemovedMessageThatIsWaitingIsNotShown reads further down while others record and remove.
func TestRemovedMessageThatIsWaitingIsNotShown(t *testing.T) {
	b, tab := openWithToken(t), openTab(t)
	b.fill(60)
	tab.do(chromedp.EmulateViewport(800, 600), chromedp.Navigate(b.url), chromedp.Evaluate[chromedp.Void](`scrollTo(0, 1000)`))
	tab.until(`scrollY === 1000`)
	b.record("a")
	b.record("b")
	tab.until(`document.querySelector(".news").textContent === "2 new messages"`)
	b.remove(61)
	tab.until(`document.querySelector(".news").textContent === "1 new message"`)
	b.remove(62)
	tab.until(`document.querySelector(".news").textContent === ""`)
	b.record("c")
	tab.until(`document.querySelector(".news").textContent === "1 new message"`)
	tab.do(chromedp.Click(chromedp.CSS(".news button")))
	tab.until(`document.querySelector(".entry").id === "message-65" && document.querySelectorAll(".entry").length === 51`)
}

// TestHiddenPageDropsWhatIsRemoved hides a tab while messages are removed, and others recorded before and after: none, a few, or
// more than a page shows. Whoever shows it again reads at the top of the page, or further down.
func TestHiddenPageDropsWhatIsRemoved(t *testing.T) {
	for _, recorded := range []int{0, 3, 60} {
		for _, scrolled := range []bool{false, true} {
			t.Run(fmt.Sprint(recorded, " more, scrolled: ", scrolled), func(t *testing.T) {
				b, tab := openWithToken(t), openTab(t)
				b.fill(60)
				tab.do(chromedp.EmulateViewport(800, 600), chromedp.Navigate(b.url))
				b.came.waitFor(t, 1, "/live?after=60")
				tab.hide(true)
				if scrolled {
					tab.do(chromedp.Evaluate[chromedp.Void](`scrollTo(0, 1000)`))
					tab.until(`scrollY === 1000`)
				}
				b.fill(recorded)
				b.remove(40)
				b.fill(recorded)
				tab.hide(false)
				tab.until(`!document.getElementById("message-40")`)
				tab.do(chromedp.Evaluate[chromedp.Void](`scrollTo(0, 0)`))
				b.record("last")
				tab.until(fmt.Sprintf(`document.querySelector(".entry").id === "message-%d" && !document.getElementById("message-40")`, 62+2*recorded))
			})
		}
	}
}

// frontWithList serves the book through a proxy that answers with another list, as soon as there is one.
func (b *book) frontWithList(list *atomic.Pointer[func() string]) string {
	b.t.Helper()
	return b.front(func(w http.ResponseWriter, r *http.Request) {
		if html := list.Load(); html != nil && r.URL.Path == "/" {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, (*html)())
		}
	})
}

// TestListLoadedBeforeARemoval arrives after it, at a page that comes back and then listens.
func TestListLoadedBeforeARemoval(t *testing.T) {
	b, tab := openWithToken(t), openTab(t)
	b.fill(3)
	var list atomic.Pointer[func() string]
	tab.do(chromedp.Navigate(b.frontWithList(&list)))
	b.came.waitFor(t, 1, "/live?after=3")
	tab.hide(true)
	b.record("four")
	list.Store(new(func() string {
		html := b.send("GET", "/?format=html", "").body
		b.remove(2)
		b.remove(4)
		return html
	}))
	tab.hide(false)
	tab.until(entries(3, 1))
}

// TestListLoadedBeforeAKnownRemoval has a message that the page never received: it was removed before the hub looked.
func TestListLoadedBeforeAKnownRemoval(t *testing.T) {
	b, tab := openWithToken(t), openTab(t)
	b.fill(3)
	var list atomic.Pointer[func() string]
	tab.do(chromedp.Navigate(b.frontWithList(&list)))
	b.came.waitFor(t, 1, "/live?after=3")
	b.fill(1) // of which nobody is notified
	stale := b.send("GET", "/?format=html", "").body
	if _, err := daybook.RemoveAll(t.Context(), b.driver, 1, 4); err != nil {
		t.Fatal(err)
	}
	tab.until(entries(3, 2))
	list.Store(new(func() string { return stale }))
	tab.hide(true)
	tab.hide(false)
	b.came.waitFor(t, 2, "/live?after=") // after the list
	if !tab.is(entries(3, 2)) {
		t.Error("the removed message is shown")
	}
}

// TestListLoadedBeforeAMessage arrives after it, at a page of which everything was removed.
func TestListLoadedBeforeAMessage(t *testing.T) {
	b, tab := openWithToken(t), openTab(t)
	b.record("one")
	var list atomic.Pointer[func() string]
	tab.do(chromedp.Navigate(b.frontWithList(&list)))
	b.came.waitFor(t, 1, "/live?after=1")
	shown := make(chan struct{})
	list.Store(new(func() string {
		html := b.send("GET", "/?format=html", "").body
		b.record("three")
		<-shown
		return html
	}))
	b.remove(1)
	tab.until(entries(3))
	close(shown)
	tab.until(`performance.getEntriesByType("resource").some(({name}) => name === location.href)`) // it is loaded
	b.record("four")
	tab.until(entries(4, 3))
}

// frontWithToken serves the book through a proxy that shows the token, as a browser does that was asked for it.
func (b *book) frontWithToken() string {
	b.t.Helper()
	return b.front(func(_ http.ResponseWriter, r *http.Request) { r.Header.Set("Authorization", "Bearer "+b.token) })
}

// TestRemovalInTheBrowser goes from a message to the question, back, and through it, by keyboard and without scripts, behind a proxy.
func TestRemovalInTheBrowser(t *testing.T) {
	b, tab := openWithToken(t), openTab(t)
	b.record("hello")
	b.record("remove me")
	b.url = b.frontWithToken()
	b.url = b.behind("/tools/daybook")
	tab.do(command(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}))
	tab.do(chromedp.Navigate(b.url + "/messages/2"))
	for _, back := range []bool{true, false} {
		tab.tabTo(".to-remove")
		tab.press("\r")
		tab.at(b.url+"/messages/2/delete", ".removal")
		if got := tab.text("main"); !strings.Contains(got, "Remove this message?") || !strings.Contains(got, "remove me") {
			t.Errorf("the page says %q", got)
		}
		if back {
			tab.tabTo(".removal a")
			tab.press("\r")
			tab.at(b.url+"/messages/2", ".to-remove")
		}
	}
	tab.tabTo(".removal button")
	tab.press("\r")
	tab.at(b.url+"/", ".entry")
	if !tab.is(entries(1)) {
		t.Error("the list has other messages")
	}
}
