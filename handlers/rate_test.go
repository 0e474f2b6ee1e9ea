package handlers_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"daybook/database/databasetest"
	"daybook/handlers"
)

// openLimited opens a book in which a visitor may record at a rate. Every client is a proxy that is believed.
func openLimited(t *testing.T, text string) *book {
	t.Helper()
	var rate handlers.Rate
	if err := rate.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	everybody := handlers.Proxy{Prefix: netip.MustParsePrefix("127.0.0.0/8")}
	return openWith(t, databasetest.New(t), handlers.Access{Rate: rate, Proxies: []handlers.Proxy{everybody}})
}

// recordAs records as a visitor at an address.
func (b *book) recordAs(visitor string) answer {
	b.t.Helper()
	return b.send("POST", "/record", "hello", "Content-Type", "text/plain", "X-Forwarded-For", visitor)
}

func TestVisitorRecordsAtARate(t *testing.T) {
	b := openLimited(t, "3/h")
	for i := range 5 {
		for _, visitor := range []string{"192.0.2.1", "192.0.2.2", fmt.Sprintf("2001:db8::%d", i), fmt.Sprintf("2001:db8:0:1::%d", i)} {
			got := b.recordAs(visitor)
			if i < 3 {
				if got.status != http.StatusCreated {
					t.Errorf("%s is answered %d %s", visitor, got.status, got.body)
				}
				continue
			}
			if got.status != http.StatusTooManyRequests || got.header.Get("Retry-After") != "1200" || !strings.Contains(got.body, "in 1200 s") {
				t.Errorf("%s is answered %d %v %s", visitor, got.status, got.header, got.body)
			}
		}
	}
	if got := len(b.values()); got != 12 {
		t.Errorf("%d messages are kept", got)
	}
	if got := b.send("GET", "/", "", "X-Forwarded-For", "192.0.2.1"); got.status != http.StatusOK {
		t.Errorf("who may not record may not read either: %d", got.status)
	}
}

func TestRateReturns(t *testing.T) {
	b := openLimited(t, "2/s")
	refused := 0
	for kept := 0; kept < 6; {
		if b.recordAs("192.0.2.1").status == http.StatusCreated {
			kept++
		} else {
			refused++
		}
	}
	if refused == 0 {
		t.Error("there is no limit")
	}
}

// TestOnlyRecordingCounts looks at the form, sends what is no message by GET, and records by GET.
func TestOnlyRecordingCounts(t *testing.T) {
	b := openLimited(t, "1/h")
	for range 3 {
		for path, accept := range map[string]string{"/record": browser, "/record?msg=hello": browser, "/record?msg=a&msg=b": "*/*"} {
			if got := b.send("GET", path, "", "Accept", accept); got.status == http.StatusTooManyRequests {
				t.Errorf("GET %s is answered %d", path, got.status)
			}
		}
		if got := b.send("HEAD", "/record?msg=hello", ""); got.status == http.StatusTooManyRequests {
			t.Errorf("HEAD is answered %d", got.status)
		}
	}
	if got := b.send("GET", "/record?msg=hello", ""); got.status != http.StatusCreated {
		t.Errorf("the first one is answered %d", got.status)
	}
	for _, method := range []string{"GET", "POST"} {
		if got := b.send(method, "/record?msg=hello", ""); got.status != http.StatusTooManyRequests {
			t.Errorf("the second one, by %s, is answered %d", method, got.status)
		}
	}
}

// TestRepeatedTransactionCountsOnce has a message that is recorded at the third attempt.
func TestRepeatedTransactionCountsOnce(t *testing.T) {
	postgresOnly(t)
	b := openLimited(t, "1/h")
	b.exec("CREATE SEQUENCE attempts")
	b.onInsert("nextval('attempts') < 3", "RAISE 'again' USING ERRCODE = 'serialization_failure';")
	b.record("hello")
}

// TestRefusedFormComesBackFromTheLimit has a browser without scripts.
func TestRefusedFormComesBackFromTheLimit(t *testing.T) {
	b := openLimited(t, "1/h")
	b.record("first")
	got := b.send("POST", "/record", "msg=second", "Content-Type", form, "Accept", browser)
	if got.status != http.StatusTooManyRequests || !strings.Contains(got.body, "second</textarea>") || !strings.Contains(got.body, "more often") {
		t.Errorf("answered %d\n%s", got.status, got.body)
	}
}

func TestBrowserKeepsTheMessageAtTheLimit(t *testing.T) {
	tab := openTab(t)
	b := openLimited(t, "1/h")
	b.record("first")
	tab.do(chromedp.Navigate(b.url), chromedp.SendKeys(area, "second"), chromedp.Click(button))
	tab.until(`document.querySelector("form [role=alert]")?.textContent.includes("more often than is allowed")`)
	if got := get(tab, chromedp.Value(area)); got != "second" {
		t.Errorf("the form holds %q", got)
	}
}

func TestRateThatIsNone(t *testing.T) {
	for _, text := range []string{"", "10", "10/d", "0/s", "-1/s", "1.5/s", "/s", "10/s/s"} {
		if err := new(handlers.Rate).UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), "10/s") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
