package handlers_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"daybook/database/databasetest"
	"daybook/handlers"
)

const (
	form     = "application/x-www-form-urlencoded"
	jsonType = "application/json"
	plain    = "text/plain"
	multi    = "multipart/form-data; boundary=B"
)

// part is a form of one field.
func part(name, value string) string {
	return "--B\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + value + "\r\n--B--\r\n"
}

// parts is a form of the fields of several.
func parts(forms ...string) string {
	return strings.ReplaceAll(strings.Join(forms, ""), "--B--\r\n--B", "--B")
}

// TestMessage sends messages in every way there is, and reads what was recorded.
func TestMessage(t *testing.T) {
	b := open(t)
	long := strings.Repeat("x", maxMessage)
	for i, test := range []struct{ name, contentType, query, body, want string }{
		{"form", form, "", "msg=hello+world%21", "hello world!"},
		{"form with other fields", form, "", "a=1&msg=hello&b=2", "hello"},
		{"form with a semicolon, as people write it", form, "", "msg=one; two", "one; two"},
		{"form with an encoded name", form, "", "m%73g=hello", "hello"},
		{"form with a text area's line breaks", form, "", "msg=a%0D%0Ab%0Ac", "a\nb\nc"},
		{"form of 10,000 fields", form, "", strings.Repeat("a&", 10_000) + "msg=x", "x"},
		{"form with an empty final newline kept", form, "", "msg=a%0A", "a\n"},
		{"curl -d 'hello world'", form, "", "hello world", "hello world"},
		{"curl -d of what looks like a key", form, "", "key=100% sure", "key=100% sure"},
		{"curl -d of what looks like two keys", form, "", "a&key=1&key=2", "a&key=1&key=2"},
		{"curl -d with what looks like another form", form, "", "a=b&c=100%", "a=b&c=100%"},
		{"curl -d msg", form, "", "msg", "msg"},
		{"curl -d with a plus", form, "", "1+1=2", "1+1=2"},
		{"multipart", multi, "", part("msg", "a\r\nb"), "a\nb"},
		{"JSON", jsonType, "", `{"msg":"a\n\u0062 \ud83d\udc4b"}`, "a\nb 👋"},
		{"JSON with replacement characters", jsonType, "", "{\"msg\":\"a\\ufffd\ufffd\\uFFFD\"}", "a\ufffd\ufffd\ufffd"},
		{"JSON with a charset", jsonType + "; charset=utf-8", "", `{"msg":"a"}`, "a"},
		{"plain text", plain, "", "msg=a&b", "msg=a&b"},
		{"plain text less one final newline", plain, "", "a\n\n", "a\n"},
		{"plain text with carriage returns inside", plain, "", "a\r\nb\r\n", "a\r\nb"},
		{"plain text with a final carriage return", plain, "", "a\r", "a\r"},
		{"plain text that ends in LF and CR", plain, "", "a\n\r", "a\n\r"},
		{"no content type", "", "", "hello", "hello"},
		{"a content type that is none", "/;", "", "hello", "hello"},
		{"an unknown type", "image/svg+xml", "", "<svg/>", "<svg/>"},
		{"the address, without a body", "", "?msg=hello%20world", "", "hello world"},
		{"the body before the address", plain, "?msg=address", "body", "body"},
		{"white space around it", plain, "", "  x ", "  x "},
		{"exactly the limit", plain, "", long, long},
		{"exactly the limit as form", form, "", "msg=" + strings.Repeat("%78", maxMessage), long},
		{"exactly the limit as JSON", jsonType, "", `{"msg":"` + strings.Repeat(`\u0078`, maxMessage) + `"}`, long},
		{"exactly the limit as multipart", multi, "", part("msg", long), long},
		{"exactly the limit and a final newline", plain, "", long + "\n", long},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := b.send("POST", "/record"+test.query, test.body, "Content-Type", test.contentType)
			if got.status != http.StatusCreated {
				t.Fatalf("answered %d %s", got.status, got.body)
			}
			if values := b.values(); len(values) != i+1 || values[i] != test.want {
				t.Errorf("recorded %q, want %q", values[min(i, len(values)):], test.want)
			}
		})
	}
}

// TestLargestMessageIsRecorded has an answer that is as long as any can be: each byte is written as six.
func TestLargestMessageIsRecorded(t *testing.T) {
	const largest = 200 << 10
	b := openConfigured(t, databasetest.New(t), handlers.Config{MaxMessage: largest})
	for _, accept := range []string{"text/plain", "application/json"} {
		if got := b.send("POST", "/record", strings.Repeat("\x01", largest), "Content-Type", "text/plain", "Accept", accept); got.status != 201 {
			t.Errorf("as %s: answered %d %.100s", accept, got.status, got.body)
		}
	}
}

// TestBadInput sends what must not be recorded, in every format, and then what must.
func TestBadInput(t *testing.T) {
	b := open(t)
	long := strings.Repeat("x", maxMessage+1)
	for _, test := range []struct {
		name, contentType, body string
		status                  int
		sentence                string
	}{
		{"nothing", "", "", 422, "The message is empty."},
		{"empty form", form, "msg=", 422, "The message is empty."},
		{"empty but for a newline", plain, "\n", 422, "The message is empty."},
		{"four spaces", form, "msg=++++", 422, "The message is empty."},
		{"white space of all kinds", plain, " \t\n\u00a0\u2003\u3000", 422, "The message is empty."},
		{"not UTF-8", plain, "a\xffb", 422, "The message is not valid UTF-8 text."},
		{"not UTF-8 in a form", form, "msg=%ff", 422, "The message is not valid UTF-8 text."},
		{"not UTF-8 in JSON", jsonType, "{\"msg\":\"\xff\"}", 422, "The message is not valid UTF-8 text."},
		{"half a surrogate pair in JSON", jsonType, `{"msg":"a\ud83db"}`, 422, "The message is not valid UTF-8 text."},
		{"NUL", plain, "a\x00b", 422, "The message contains a NUL character."},
		{"NUL in JSON", jsonType, `{"msg":"\u0000"}`, 422, "The message contains a NUL character."},
		{"one byte over the limit", plain, long, 413, "The message has 1001 bytes, more than the 1000 that are allowed."},
		{"one byte over the limit in a form", form, "msg=" + long, 413, "The message has 1001 bytes, more than the 1000 that are allowed."},
		{"far over the limit", plain, strings.Repeat("x", 1<<20), 413, "The request is larger than any message may be."},
		{"broken JSON", jsonType, `{"msg":`, 400, `The body is not JSON like {"msg":"hello world"}.`},
		{"JSON of another kind", jsonType, `["a"]`, 400, `The body is not JSON like {"msg":"hello world"}.`},
		{"JSON without msg", jsonType, `{"message":"a"}`, 422, `The JSON has no msg, as in {"msg":"hello world"}.`},
		{"JSON with a number", jsonType, `{"msg":1}`, 400, `The body is not JSON like {"msg":"hello world"}.`},
		{"form that is not encoded", form, "msg=100% sure", 400, "The field msg is not percent-encoded. With curl, use --data-urlencode."},
		{"two messages", form, "msg=a&msg=b", 400, "There is more than one msg."},
		{"multipart with two keys", multi, parts(part("key", "k"), part("msg", "a"), part("key", "l")), 400, "There is more than one key."},
		{"multipart without end", multi, strings.TrimSuffix(part("msg", "a"), "--\r\n"), 400, "The form is malformed or incomplete."},
		{"multipart without boundary", "multipart/form-data", part("msg", "a"), 400, "The form is malformed or incomplete."},
		{"multipart that is none", multi, "hello", 400, "The form is malformed or incomplete."},
		{"multipart without msg", multi, part("a", "b"), 422, "The form must have one field msg, and has 0."},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, accept := range []string{"*/*", "application/json", browser} {
				got := b.send("POST", "/record", test.body, "Content-Type", test.contentType, "Accept", accept)
				want := map[string]string{
					"*/*":              test.sentence + "\n",
					"application/json": fmt.Sprintf("\"status\":%d,\"detail\":%s}\n", test.status, quoted(test.sentence)),
					browser:            strings.ReplaceAll(test.sentence, `"`, "&#34;"),
				}[accept]
				if got.status != test.status || !strings.Contains(got.body, want) {
					t.Errorf("answered %d\n%s\nwant %d\n%s", got.status, got.body, test.status, want)
				}
			}
		})
	}
	b.record("good")
	if got := b.values(); len(got) != 1 {
		t.Errorf("the book holds %q", got)
	}
}

func quoted(sentence string) string {
	return `"` + strings.ReplaceAll(sentence, `"`, `\"`) + `"`
}

// TestBodyThatBreaksOff begins well. The connection stays open, so that nothing else says that the message is not whole.
func TestBodyThatBreaksOff(t *testing.T) {
	b := open(t)
	conn, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "POST /record HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nno length\r\n")
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusBadRequest {
		t.Errorf("answered %d", response.StatusCode)
	}
	if got := b.values(); len(got) != 0 {
		t.Errorf("the book holds %q", got)
	}
}

// TestHugeInput sends what could exhaust the server, and watches its memory.
func TestHugeInput(t *testing.T) {
	b := open(t)
	peak := watchMemory(t)
	fields := &bytes.Buffer{}
	many := multipart.NewWriter(fields)
	for i := range 10_000 {
		if err := many.WriteField(fmt.Sprint("f", i), "x"); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct{ name, request, body, want string }{
		{"a gigabyte announced", "POST /record HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1073741824\r\n\r\n", "begins", "413"},
		{"a gigabyte announced to whoever asks first",
			"POST /record HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1073741824\r\nExpect: 100-continue\r\n\r\n", "", "413"},
		{"a body without end", "POST /record HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n", strings.Repeat("1000\r\n"+strings.Repeat("x", 4096)+"\r\n", 100), "413"},
		{"10,000 fields", "POST /record HTTP/1.1\r\nHost: localhost\r\nContent-Type: " + many.FormDataContentType() +
			fmt.Sprintf("\r\nContent-Length: %d\r\n\r\n", fields.Len()), fields.String(), "413"},
		{"a header of a megabyte", "GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: " + strings.Repeat("x", 1<<20) + "\r\n\r\n", "", "431"},
		{"an address of a megabyte", "GET /?q=" + strings.Repeat("x", 1<<20) + " HTTP/1.1\r\nHost: localhost\r\n\r\n", "", "431"},
		{"a compressed body", "POST /record HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n", "\x1f\x8b\x08\x00", "422"},
	} {
		t.Run(test.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", b.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
			// The server may answer and close before it has taken all.
			go func() { _, _ = io.WriteString(conn, test.request+test.body) }()
			var status, rest string
			if _, err := fmt.Fscanf(conn, "HTTP/1.1 %s %s", &status, &rest); err != nil || status != test.want {
				t.Errorf("answered %q (%v), want %s", status, err, test.want)
			}
		})
	}
	b.record("it lives")
	if used := peak(); used > 100<<20 {
		t.Errorf("memory rose to %d MiB", used>>20)
	}
}

// watchMemory returns a function that tells the most memory that was in use since.
func watchMemory(t *testing.T) func() uint64 {
	t.Helper()
	runtime.GC()
	stop, result := make(chan bool), make(chan uint64)
	go func() {
		var peak uint64
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			var now runtime.MemStats
			runtime.ReadMemStats(&now)
			peak = max(peak, now.HeapInuse+now.StackInuse)
			select {
			case <-tick.C:
			case <-stop:
				result <- peak
				return
			}
		}
	}()
	return func() uint64 {
		close(stop)
		return <-result
	}
}
