package handlers_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// mobile is a network like that of a phone: slow, with a pause now and then, as when a packet is sent again.
type mobile struct {
	to      string // host:port
	offline atomic.Bool
	mu      sync.Mutex
	conns   map[net.Conn]bool
}

const (
	mobileLatency = 100 * time.Millisecond // one way
	mobileRate    = 50_000                 // bytes a second
	mobilePacket  = 1400
	mobilePauses  = 30 // one in so many packets comes late
)

// openMobile returns a network that leads to an address, and the port at which it begins.
func openMobile(t *testing.T, to string) (m *mobile, port int) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m = &mobile{to: to, conns: map[net.Conn]bool{}}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() { m.carry(client) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		m.cut()
		running.Wait()
	})
	return m, listener.Addr().(*net.TCPAddr).Port
}

// carry passes on what both sides say.
func (m *mobile) carry(client net.Conn) {
	server, err := net.Dial("tcp", m.to)
	if err != nil || m.offline.Load() {
		client.Close()
		return
	}
	m.mu.Lock()
	m.conns[client], m.conns[server] = true, true
	m.mu.Unlock()
	var ways sync.WaitGroup
	ways.Go(func() { pass(server, client) })
	ways.Go(func() { pass(client, server) })
	ways.Wait()
	m.mu.Lock()
	delete(m.conns, client)
	delete(m.conns, server)
	m.mu.Unlock()
}

// pass passes on packets until either side is closed.
func pass(to, from net.Conn) {
	type packet struct {
		content []byte
		due     time.Time
	}
	packets := make(chan packet, 1000)
	var sending sync.WaitGroup
	sending.Go(func() {
		defer to.Close()
		defer from.Close()
		for p := range packets {
			time.Sleep(time.Until(p.due))
			if _, err := to.Write(p.content); err != nil {
				break
			}
		}
		for range packets { // nobody wants the rest
		}
	})
	for buffer := make([]byte, mobilePacket); ; {
		n, err := from.Read(buffer)
		if err != nil {
			break
		}
		time.Sleep(time.Duration(n) * time.Second / mobileRate)
		p := packet{append([]byte{}, buffer[:n]...), time.Now().Add(mobileLatency)}
		if rand.IntN(mobilePauses) == 0 {
			p.due = p.due.Add(time.Second)
		}
		packets <- p
	}
	close(packets)
	sending.Wait()
}

// cut resets all connections.
func (m *mobile) cut() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for conn := range m.conns {
		_ = conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
	}
}

// withTLS is Caddy with a certificate of its own.
var withTLS = reverseProxy{reverseProxies[1].name, reverseProxies[1].install, reverseProxies[1].program, `
	{
		admin off
		auto_https disable_redirects
		skip_install_trust
		servers {
			protocols h1 h2
		}
	}
	https://localhost:PORT {
		bind 127.0.0.1
		tls internal
		reverse_proxy BOOK
	}`, reverseProxies[1].arguments}

// TestPageOnAMobileNetwork has a page and curl record through Caddy, with TLS and HTTP/2, on a slow network that cuts connections
// and goes away. Nothing that was typed may be lost, and each message is recorded once and shown once.
func TestPageOnAMobileNetwork(t *testing.T) {
	skipOnPostgreSQL(t)
	t.Parallel()
	b := open(t)
	network, port := openMobile(t, withTLS.start(b))
	address := fmt.Sprintf("https://localhost:%d", port)
	tab := openTabIn(t, launch(t, chromedp.Flag("ignore-certificate-errors", true)))
	failOnComplaints(t, tab.ctx)
	tab.do(chromedp.Navigate(address))
	if !tab.is(`performance.getEntriesByType("navigation")[0].nextHopProtocol === "h2"`) {
		t.Error("the page does not come by HTTP/2")
	}

	curl := need(t, "apt-get install curl", "curl")
	var curls sync.WaitGroup
	t.Cleanup(curls.Wait)
	const each = 5
	curls.Go(func() { // repeats with its key
		for i := range each {
			output, err := exec.CommandContext(t.Context(), curl, "-fsSk", "--retry", "100", "--retry-delay", "1",
				"--retry-all-errors", "-H", fmt.Sprint("Idempotency-Key: ", i), "-d", fmt.Sprint("by curl ", i), address+"/record").CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, output)
			}
		}
	})
	for i := range each {
		message := fmt.Sprint("by page ", i)
		tab.do(chromedp.SetValue(area, message), chromedp.Click(button))
		if i%2 == 0 { // the answer is lost, and the browser cannot repeat the request by itself
			b.waitForMessage(message)
			network.offline.Store(true)
			network.cut()
			tab.until(`document.querySelector("form.record").getAttribute("aria-busy") === "false"`)
			network.offline.Store(false)
		} else {
			time.Sleep(rand.N(mobileLatency))
			network.cut()
		}
		tab.recordUntilDone(message)
	}

	network.offline.Store(true)
	network.cut()
	tab.do(chromedp.SetValue(area, "offline"), chromedp.Click(button))
	tab.until(`document.querySelector("[role=alert]")?.textContent.includes("cannot be reached") && document.querySelector("textarea").value === "offline"`)
	tab.until(`document.querySelector(".news").textContent.includes("Connection lost. Trying again…")`)
	network.offline.Store(false)
	tab.until(`document.querySelector(".news").textContent.includes("Connected again.")`)
	tab.do(chromedp.Click(button))
	tab.recordUntilDone("offline")
	curls.Wait()
	b.send("POST", "/record", "the last one", "Content-Type", plain, "Idempotency-Key", "last") // not by that network
	tab.until(`document.querySelector(".entry .value").textContent === "the last one"`)

	shown := get(tab, chromedp.Evaluate[[]string](`[...document.querySelectorAll(".entry .value")].map(value => value.textContent).reverse()`))
	b.holds(shown...)
	all := len(shown)
	slices.Sort(shown)
	if different := len(slices.Compact(shown)); all != 2*each+2 || different != all {
		t.Errorf("%d messages are recorded and shown, %d different ones, want %d", all, different, 2*each+2)
	}
}

// waitForMessage waits until a message is recorded.
func (b *book) waitForMessage(value string) {
	b.t.Helper()
	for limit := time.Now().Add(10 * time.Second); b.number("SELECT count(*) FROM messages WHERE value = '"+value+"'") == 0; {
		if time.Now().After(limit) {
			b.t.Fatalf("%q is not recorded", value)
		}
		time.Sleep(time.Millisecond)
	}
}

// recordUntilDone waits until the message that is on its way is recorded. When it is not, it must still be in the field, and the
// button is pressed again.
func (b tab) recordUntilDone(message string) {
	b.t.Helper()
	const idle = `document.querySelector("form.record").getAttribute("aria-busy") === "false" && document.querySelector("textarea")`
	for limit := time.Now().Add(30 * time.Second); !b.is(idle + `.value === ""`); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(limit) {
			b.t.Fatalf("%q is not recorded", message)
		}
		if !b.is(idle + ` && document.querySelector("[role=alert]")`) {
			continue
		}
		switch kept := get(b, chromedp.Value(area)); kept {
		case "": // it has just been recorded
		case message:
			b.do(chromedp.Click(button))
		default:
			b.t.Fatalf("of %q, the field has %q", message, kept)
		}
	}
}
