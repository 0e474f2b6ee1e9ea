package views

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"daybook/ent"
)

// FuzzJSON compares a message with what encoding/json makes of it.
func FuzzJSON(f *testing.F) {
	for _, seed := range []string{
		"", "hello world", `a "quoted" \word`, "a\n\r\t\b\f\x00\x1b\x7f", "<b>&amp;</b>", "grüße, 世界 👋🏽 שלום",
		"a\u2028b", "a\u2029b", "“a” – b…", "\ufeff\ufffd", "a\xffb", "\xe2\x80", "\xed\xa0\x80",
	} {
		f.Add(seed, 7, int64(1_795_196_532_000_120_000))
	}
	f.Add("a nanosecond before midnight", 1, int64(1_795_219_199_999_999_999))
	f.Add("long ago", -1, int64(-1_000_000_000_000_000_001))
	f.Fuzz(func(t *testing.T, value string, id int, nanoseconds int64) {
		at := time.Unix(0, nanoseconds).In(time.FixedZone("", 3600))
		var want bytes.Buffer
		encoder := json.NewEncoder(&want)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(struct {
			ID         int    `json:"id"`
			Value      string `json:"value"`
			RecordedAt string `json:"recorded_at"`
		}{id, value, at.UTC().Format("2006-01-02T15:04:05.000000Z07:00")}); err != nil {
			t.Fatal(err)
		}
		got := Message{Message: &ent.Message{ID: id, Value: value, RecordedAt: at}}.AppendJSON([]byte("before "))
		if string(got)+"\n" != "before "+want.String() {
			t.Errorf("got  %s\nwant %s", got, want.String())
		}
	})
}
