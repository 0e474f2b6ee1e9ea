package handlers_test

import (
	"context"
	_ "embed"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	browserlog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"daybook/database/databasetest"
)

// chromium is what most tests browse with. The first of them starts it, and TestMain ends it.
var chromium struct {
	start sync.Once
	ctx   context.Context
	end   context.CancelFunc
	err   error
}

// browsing are tests of which some browse.
type browsing struct{ *testing.M }

func (b browsing) Run() int {
	defer func() {
		if chromium.end != nil {
			chromium.end()
		}
	}()
	return b.M.Run()
}

// tab is a tab of a Chromium with a profile of its own.
type tab struct {
	t   *testing.T
	ctx context.Context
}

// browse opens a book and a tab, for a test that need not run on PostgreSQL, too, and that may run beside others.
func browse(t *testing.T) (*book, tab) {
	t.Helper()
	skipOnPostgreSQL(t)
	tab := openTab(t)
	return open(t), tab
}

// openTab opens a tab for a test that need not run on PostgreSQL, too, and that may run beside others.
func openTab(t *testing.T) tab {
	t.Helper()
	skipOnPostgreSQL(t)
	t.Parallel()
	return openTabOnBoth(t)
}

func skipOnPostgreSQL(t *testing.T) {
	t.Helper()
	if databasetest.Postgres() {
		t.Skip("what this looks at does not depend on the database")
	}
}

// openTabOnBoth opens a tab, which is closed with the test.
func openTabOnBoth(t *testing.T) tab {
	t.Helper()
	path := needChromium(t)
	chromium.start.Do(func() { chromium.ctx, chromium.end, chromium.err = start(path) })
	if chromium.err != nil {
		t.Fatal(chromium.err)
	}
	tab := openTabIn(t, chromium.ctx)
	failOnComplaints(t, tab.ctx)
	return tab
}

// openTabIn opens a tab in a browser. It shares nothing with the others there.
func openTabIn(t *testing.T, browser context.Context) tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	ctx, cancel = context.WithTimeout(ctx, 5*time.Minute)
	t.Cleanup(cancel)
	return tab{t, ctx}
}

// launch starts a Chromium of the test's own, with more flags.
func launch(t *testing.T, flags ...chromedp.ExecAllocatorOption) context.Context {
	t.Helper()
	ctx, end, err := start(needChromium(t), flags...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(end)
	return ctx
}

func needChromium(t *testing.T) (path string) {
	t.Helper()
	return need(t, "apt-get install chromium", "chromium", "chromium-browser", "google-chrome")
}

// start starts Chromium, and returns the context of its first tab, which has no limit: it would be the browser's.
func start(path string, flags ...chromedp.ExecAllocatorOption) (ctx context.Context, end context.CancelFunc, err error) {
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.NoSandbox, // as root, in a container, there is none
		chromedp.Flag("disable-quic", true),
		// A mouse, which a browser without a window does not have, and without which it hides what is for keyboards.
		chromedp.Flag("blink-settings", "primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4"),
		chromedp.Flag("disable-component-update", true),
	)
	allocator, end := chromedp.NewExecAllocator(context.Background(), append(options, flags...)...)
	ctx, _ = chromedp.NewContext(allocator)
	if err := chromedp.Do(ctx); err != nil {
		end()
		return nil, nil, err
	}
	return ctx, end, nil
}

// failOnComplaints lets the test fail if the browser has something to complain about: an exception in a script, or what a page's
// Content-Security-Policy forbids.
func failOnComplaints(t *testing.T, ctx context.Context) {
	t.Helper()
	complaints := make(chan string, 100)
	complain := func(format string, args ...any) {
		select {
		case complaints <- fmt.Sprintf(format, args...):
		default: // it is said enough
		}
	}
	if err := chromedp.Listen(ctx, func(event any) {
		switch event := event.(type) {
		case *browserlog.EventEntryAdded:
			if e := event.Entry; e.Level == browserlog.EntryLevelError && e.Source != browserlog.EntrySourceNetwork { // a refusal is no fault
				complain("%s: %s", e.URL, e.Text)
			}
		case *runtime.EventExceptionThrown:
			complain("%v", event.ExceptionDetails)
		}
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for range len(complaints) {
			t.Error("the browser complains: ", <-complaints)
		}
	})
}

// do lets the browser do one thing after another.
func (b tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

// get asks the browser something.
func get[T any](b tab, question chromedp.Action[T]) T {
	b.t.Helper()
	answer, err := chromedp.Run(b.ctx, question)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer
}

// text waits for an element and returns its text.
func (b tab) text(selector chromedp.CSS) string {
	b.t.Helper()
	return get(b, chromedp.Text(selector))
}

// command sends a command of the browser's protocol.
func command[P, R any](command cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, command, params)
		return err
	})
}

const (
	area   chromedp.CSS = "textarea[name=msg]"
	button chromedp.CSS = "form.record button"
	first  chromedp.CSS = ".entry:first-child .value" // the newest message
)

func TestBrowserRecordsAndShows(t *testing.T) {
	b, tab := open(t), openTabOnBoth(t)
	tab.do(chromedp.Navigate(b.url))
	if got := tab.text(".empty"); !strings.Contains(got, "curl -d 'hello world' "+b.addr+"/record") {
		t.Errorf("the empty book says %q", got)
	}
	tab.do(chromedp.SendKeys(area, "one\ntwo"), chromedp.Click(button), chromedp.WaitVisible(first))
	if got := tab.text(first); got != "one\ntwo" {
		t.Errorf("the page shows %q", got)
	}
	if got := b.values(); len(got) != 1 || got[0] != "one\ntwo" {
		t.Errorf("the book holds %q", got)
	}
	when := get(tab, chromedp.AttributeValue(chromedp.CSS(".entry time"), "datetime")).Value
	if _, err := time.Parse(time.RFC3339Nano, when); err != nil {
		t.Error(err)
	}
	tab.do(chromedp.Click(chromedp.CSS(".entry .when")), chromedp.WaitVisible(chromedp.CSS("article.message")))
	if got := tab.text("article.message .value"); got != "one\ntwo" {
		t.Errorf("the message's own page shows %q", got)
	}
	tab.do(chromedp.Click(chromedp.CSS(".back a")), chromedp.WaitVisible(first))
}

// focused is what has the focus.
type focused struct {
	Element string // as a test shows it
	Place   int    // among what can be used, in the order of the page; -1 if it is nothing of that
	Of      int    // so much can be used
	Visible bool   // whether one can see that it has the focus
}

// focus is JavaScript that returns what is focused.
const focus = `(() => {
	const usable = [...document.querySelectorAll("a, button, input, select, textarea, summary, [tabindex='0']")]
		.filter(element => !element.disabled && element.checkVisibility());
	const element = document.activeElement, style = getComputedStyle(element), box = element.getBoundingClientRect();
	return {
		Element: element.cloneNode().outerHTML,
		Place: usable.indexOf(element),
		Of: usable.length,
		Visible: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2 &&
			box.width > 1 && box.bottom > 0 && box.top < innerHeight,
	};
})()`

// press presses keys, a rune for each.
func (b tab) press(keys string, modifiers ...chromedp.Modifier) {
	b.t.Helper()
	b.do(chromedp.KeyEvent(keys, chromedp.KeyModifiers(modifiers...)))
}

// tabTo presses the tab key until an element has the focus.
func (b tab) tabTo(selector chromedp.CSS) {
	b.t.Helper()
	matches := chromedp.Evaluate[bool](fmt.Sprintf("document.activeElement.matches(%q)", selector))
	for range get(b, chromedp.Evaluate[focused](focus)).Of + 1 {
		b.press("\t")
		if get(b, matches) {
			return
		}
	}
	b.t.Fatalf("the tab key does not lead to %s", selector)
}

func TestBrowserByKeyboard(t *testing.T) {
	b, tab := browse(t)
	tab.do(chromedp.Navigate(b.url))
	tab.tabTo(area)
	tab.press("by keyboard")
	tab.press(kb.Enter, kb.ModifierCtrl)
	tab.at(b.url+"/", `.when[href$="/1"]`)
	if got := tab.text(first); got != "by keyboard" {
		t.Errorf("the page shows %q", got)
	}
	tab.tabTo(area)
	tab.press("by" + kb.Enter + "button")
	tab.tabTo(button)
	tab.press(kb.Enter)
	tab.at(b.url+"/", `.when[href$="/2"]`)
	if got := tab.text(first); got != "by\nbutton" {
		t.Errorf("the page shows %q", got)
	}
	tab.tabTo(`.when[href$="/1"]`)
	tab.press(kb.Enter)
	tab.at(b.url+"/messages/1", `a[rel="prev"]`)
	tab.tabTo(`a[rel="prev"]`)
	tab.press(kb.Enter)
	tab.at(b.url+"/messages/2", `a[rel="next"]`)
	tab.tabTo(`.back a`)
	tab.press(kb.Enter)
	tab.at(b.url+"/", `.entries`)
}

// TestKeyboardReachesEverything walks through pages by the tab key.
func TestKeyboardReachesEverything(t *testing.T) {
	b, tab := browse(t)
	b.fill(9)
	for _, path := range []string{"/?before=8&limit=3", "/messages/5", "/record", "/messages/404"} {
		tab.do(chromedp.Navigate(b.url + path))
		for place := range get(tab, chromedp.Evaluate[focused](focus)).Of {
			tab.press("\t")
			got := get(tab, chromedp.Evaluate[focused](focus))
			if got.Place != place {
				t.Errorf("%s: the focus is at %s, place %d instead of %d", path, got.Element, got.Place, place)
			}
			if !got.Visible {
				t.Errorf("%s: one cannot see that the focus is at %s", path, got.Element)
			}
		}
		tab.press("\t")
		if got := get(tab, chromedp.Evaluate[focused](focus)); got.Place != -1 || got.Of == 0 {
			t.Errorf("%s: after all %d places the tab key leads to %s", path, got.Of, got.Element)
		}
	}
}

// TestBrowserShowsAMessageAmongOthers goes from a message's own page to the list around it.
func TestBrowserShowsAMessageAmongOthers(t *testing.T) {
	b, tab := browse(t)
	b.fill(100)
	tab.do(chromedp.Navigate(b.url+"/messages/40"), chromedp.Click(chromedp.CSS(".in-list")))
	tab.at(b.url+"/?before=65#message-40", ".entry:target")
	const place = `(() => {
		const entry = document.querySelector(".entry:target"), entries = [...document.querySelectorAll(".entry")];
		const box = entry.getBoundingClientRect(), color = entry => getComputedStyle(entry).backgroundColor;
		return entries.length + " " + entries.indexOf(entry) + " " + (box.top > 0 && box.bottom < innerHeight) + " " +
			(color(entry) !== color(entries[0]));
	})()`
	if got := get(tab, chromedp.Evaluate[string](place)); got != "50 24 true true" {
		t.Errorf("entries, place, in sight, highlighted: %s", got)
	}
}

func TestKeyboardScrollsCode(t *testing.T) {
	b, tab := browse(t)
	b.record("if x {\n\ty(" + strings.Repeat("long, ", 100) + ")\n\tz()\n}")
	for _, path := range []string{"/", "/messages/1"} {
		tab.do(chromedp.Navigate(b.url + path))
		tab.tabTo(".code")
		tab.press(strings.Repeat(kb.ArrowRight, 3))
		tab.until(`document.querySelector(".code").scrollLeft > 0 && document.documentElement.scrollLeft === 0`)
	}
}

func TestBrowserKeepsARefusedMessage(t *testing.T) {
	b, tab := browse(t)
	long := "\n  " + strings.Repeat("é", maxMessage)
	tab.do(
		chromedp.Navigate(b.url),
		chromedp.SetValue(area, long),
		chromedp.Click(button),
		chromedp.WaitVisible(chromedp.CSS("[role=alert]")),
	)
	if kept := get(tab, chromedp.Value(area)); kept != long {
		t.Errorf("%d bytes were typed, and %d are left", len(long), len(kept))
	}
	if !get(tab, chromedp.Evaluate[bool]("document.activeElement.name === 'msg'")) {
		t.Error("the text to mend does not have the focus")
	}
	if got := tab.text("[role=alert]"); !strings.Contains(got, "more than the 1000") {
		t.Errorf("the page says %q", got)
	}
	tab.do(chromedp.SetValue(area, "short"), chromedp.Click(button), chromedp.WaitVisible(first))
}

func TestBrowserWithoutScripts(t *testing.T) {
	b, tab := browse(t)
	tab.do(
		command(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}),
		chromedp.Navigate(b.url),
		chromedp.SendKeys(area, "without scripts"),
		chromedp.Click(button),
		chromedp.WaitVisible(first),
	)
	if got := tab.text(first); got != "without scripts" {
		t.Errorf("the page shows %q", got)
	}
}

func TestBrowserShowsMarkupAndDoesNotRunIt(t *testing.T) {
	b, tab := browse(t)
	markup := `<script>document.title = "run"</script><img src=x onerror="document.title = 'run'">`
	b.record(markup)
	tab.do(chromedp.Navigate(b.url))
	if got, title := tab.text(first), get(tab, chromedp.Title()); got != markup || title != "Daybook" {
		t.Errorf("title %q, message %q", title, got)
	}
}

func TestBrowserAsksBeforeItRecordsAnAddress(t *testing.T) {
	b, tab := browse(t)
	tab.do(
		chromedp.Navigate(serveElsewhere(t, fmt.Sprintf(`<a href="%s/record?msg=linked">a link</a>`, b.url))),
		chromedp.Click(chromedp.CSS("a")),
		chromedp.WaitVisible(area),
	)
	if value, got := get(tab, chromedp.Value(area)), b.values(); value != "linked" || len(got) != 0 {
		t.Errorf("the form holds %q, the book %q", value, got)
	}
	tab.do(chromedp.Click(button), chromedp.WaitVisible(first))
	tab.do(chromedp.Navigate(b.url+"/record?msg=typed"), chromedp.WaitVisible(area))
	if value, got := get(tab, chromedp.Value(area)), strings.Join(b.values(), " "); value != "typed" || got != "linked" {
		t.Errorf("the form holds %q, the book %q", value, got)
	}
}

// serveElsewhere serves a page from another site than the book's: a browser takes localhost and 127.0.0.1 for two.
func serveElsewhere(t *testing.T, content string) string {
	t.Helper()
	addr := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, content)
	}))
	return strings.Replace("http://"+addr, "127.0.0.1", "localhost", 1)
}

// axe is axe-core, which knows the rules that make a page of use to everybody.
//
//go:embed testdata/axe-core-4.14.1/axe.min.js
var axe string

// look is JavaScript that returns what is wrong with a page's looks: what is wider than the window, and what breaks a rule
// of axe, or may break it: a contrast that axe cannot tell shall not pass for a good one.
const look = `(async () => {
	const root = document.documentElement;
	const sideways = root.scrollWidth > root.clientWidth ? ["it scrolls sideways: " + root.scrollWidth + " > " + root.clientWidth] : [];
	const left = [
		"color-contrast-enhanced",      // 7 to 1: level AAA
		"identical-links-same-purpose", // the times of two messages in one minute: level AAA
	];
	const rules = Object.fromEntries(axe.getRules().map(({ruleId}) => [ruleId, {enabled: !left.includes(ruleId)}]));
	for (const cover of document.querySelectorAll(".news, .day > h2")) cover.style = "position: static; height: auto"; // axe cannot tell the contrast of what they cover
	const scrolled = await axe.run({runOnly: ["scrollable-region-focusable"]});
	for (const code of document.querySelectorAll(".code")) code.style.whiteSpace = "pre-wrap"; // nor of what is out of sight
	const {violations, incomplete} = await axe.run({rules});
	const describe = verdict => ({id, help, nodes}) => nodes.map(({target, html, failureSummary}) =>
		[verdict + " " + id + ": " + help, target.join(" "), html, failureSummary].join("\n").replaceAll("\n", "\n\t"));
	const broken = [...scrolled.violations, ...violations];
	return [...sideways, ...broken.flatMap(describe("it breaks")), ...incomplete.flatMap(describe("it may break"))];
})()`

// TestPaperHasMessagesOnly asks what is left of pages in print.
func TestPaperHasMessagesOnly(t *testing.T) {
	b, tab := browse(t)
	b.fill(5)
	b.exec("UPDATE messages SET recorded_at = '2026-11-19 07:05:09+00:00'")
	tab.do(command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: "print"}))
	for path, want := range map[string]string{
		"/?before=4&limit=2": `^Daybook \w+, \d+ November 2026 \d\d:\d\d message 3 \d\d:\d\d message 2 Times are \S+$`,
		"/messages/4":        `^Daybook Message 4 \w+, \d+ November 2026, \d\d:\d\d:\d\d \S+ message 4$`,
	} {
		tab.do(chromedp.Navigate(b.url + path))
		printed := get(tab, chromedp.Evaluate[string]("document.querySelectorAll('.unseen').forEach(e => e.remove()); document.body.innerText"))
		if got := strings.Join(strings.Fields(printed), " "); !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("%s: on paper there is\n%s\nwant\n%s", path, got, want)
		}
	}
}

// TestLooks opens every page in both schemes at both ends of the widths, and lets axe judge it. With
// DAYBOOK_TEST_SCREENSHOTS=folder it leaves a screenshot of each there, and of widths in between.
func TestLooks(t *testing.T) {
	full, empty, long, texts, tab := open(t), open(t), open(t), open(t), openTab(t)
	removable := openWithTokenAt(t, texts.at).frontWithToken()
	long.fill(60)
	for _, message := range []string{
		"hello world",
		"Backup of the house server: 41 GB in 12 minutes.\nNothing failed.",
		"שלום עולם, נכתב מימין לשמאל\nand this line from the left",
		"https://example.org/" + strings.Repeat("a-very-long-way/", 10) + strings.Repeat("x", 100),
		`<script>alert("shown, not run")</script>`,
		"Anna has paid the gardener. The roofers come on Tuesday at eight; please leave the gate open for them, and move the car.",
	} {
		full.record(message)
	}
	full.exec("UPDATE messages SET recorded_at = '2026-11-19 07:05:09.000001+00:00' WHERE id < 4")
	texts.fill(2) // with times of their own
	for _, message := range []string{
		"func main() {\n\tif err := run(); err != nil {\n\t\tlog.Fatal(\"it cannot start: \", err) // https://example.org/" +
			strings.Repeat("why", 30) + "\n\t}\n}",
		"NAME      SIZE    DATE\nbackup    41 GB   2026-11-20\nphotos    3 TB    2026-11-19",
		strings.TrimSpace(strings.Repeat("One of many lines\n", 40)),
		"See https://example.org/" + strings.Repeat("long/", 40) + " (and https://example.org/wiki/Go_(game)).",
		strings.Repeat("Mauerwerksfeuchtigkeitsmessgerät", 8),
	} {
		texts.record(message)
	}
	refused := func() {
		tab.do(chromedp.SetValue(area, strings.Repeat("too long ", 150)), chromedp.Click(button))
		tab.until(`document.querySelector("[role=alert]")`)
	}
	say := chromedp.Evaluate[chromedp.Void](`document.querySelector(".news p").textContent = "Connection lost. Trying again…"`)
	lost := func() { tab.do(say) } // without waiting for it
	news := func() {
		tab.do(chromedp.Evaluate[chromedp.Void](`scrollTo(0, 1000)`))
		tab.until(`document.querySelector(".book").getBoundingClientRect().top < 0`)
		long.record("while one reads")
		tab.until(`document.querySelector(".news").textContent`)
		tab.do(say)
	}
	pages := []struct {
		name, url string
		then      func()
	}{
		{name: "empty", url: empty.url},
		{name: "messages", url: full.url},
		{name: "page", url: full.url + "/?before=5&limit=2"},
		{name: "past", url: full.url + "/?after=6"},
		{name: "day", url: full.url + "/?on=2026-11-19"},
		{name: "found", url: full.url + "/?q=THE+in"},
		{name: "not-found", url: full.url + "/?q=nowhere"},
		{name: "news", url: long.url, then: news},
		{name: "lost", url: full.url, then: lost},
		{name: "message", url: full.url + "/messages/3"},
		{name: "texts", url: texts.url},
		{name: "texts-found", url: texts.url + "/?q=EXAMPLE+line+run"},
		{name: "in-list", url: texts.url + "/?before=28#message-3"},
		{name: "code", url: texts.url + "/messages/3"},
		{name: "form", url: full.url + "/record"},
		{name: "confirm", url: full.url + "/record?msg=from+a+link"},
		{name: "refused", url: full.url, then: refused},
		{name: "removable", url: removable + "/messages/1"},
		{name: "removal", url: removable + "/messages/3/delete"},
		{name: "error", url: full.url + "/messages/404"},
	}
	folder, widths := os.Getenv("DAYBOOK_TEST_SCREENSHOTS"), []int64{320, 1280}
	if folder != "" {
		widths = []int64{320, 360, 768, 1280}
	}
	for _, page := range pages {
		for _, scheme := range []string{"light", "dark"} {
			for _, width := range widths {
				name := fmt.Sprintf("%s-%s-%d.png", page.name, scheme, width)
				tab.do(
					chromedp.EmulateViewport(width, 800),
					command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
						{Name: "prefers-color-scheme", Value: scheme},
					}}),
					chromedp.Navigate(page.url),
				)
				if page.then != nil {
					page.then()
				}
				if folder != "" {
					picture := get(tab, chromedp.CaptureScreenshot())
					if err := os.WriteFile(filepath.Join(folder, name), picture, 0o644); err != nil {
						t.Fatal(err)
					}
				}
				tab.do(chromedp.Evaluate[chromedp.Void](axe))
				for _, fault := range get(tab, chromedp.Evaluate[[]string](look, chromedp.EvalAwaitPromise)) {
					t.Errorf("%s: %s", name, fault)
				}
			}
		}
	}
}

// TestDayInTheBrowser goes to a day by the field and by a heading, without scripts.
func TestDayInTheBrowser(t *testing.T) {
	b, tab := open(t), openTabOnBoth(t)
	b.fill(4)
	b.exec("UPDATE messages SET recorded_at = '2026-11-19 12:00:00+00:00' WHERE id < 3")
	tab.do(command(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}))
	tab.do(chromedp.Navigate(b.url), chromedp.Click(chromedp.CSS(".to-day summary")),
		chromedp.SetValue(chromedp.CSS("[name=on]"), "2026-11-19"), chromedp.Click(chromedp.CSS(".to-day button")))
	tab.at(b.url+"/?on=2026-11-19", `[name=on][value="2026-11-19"]`)
	tab.do(chromedp.Click(chromedp.CSS(`a[rel="prev"]`)))
	tab.at(b.url+"/?on="+time.Now().Format(time.DateOnly), "#message-4")
	tab.do(chromedp.Navigate(b.url+"/?before=3"), chromedp.Click(chromedp.CSS(".day h2 a")))
	tab.at(b.url+"/?on=2026-11-19", `[name=on][value="2026-11-19"]`)
	if got := tab.text("h1"); got != "Messages of 19 November 2026" {
		t.Errorf("the page is headed %q", got)
	}
}
