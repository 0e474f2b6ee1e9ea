package views

import (
	"strings"
	"testing"
	"time"

	"daybook/ent"
)

func TestTextHasTheNewestLast(t *testing.T) {
	at := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	newestFirst := []*ent.Message{{ID: 2, Value: "second", RecordedAt: at}, {ID: 1, Value: "first", RecordedAt: at}}
	got := string(Messages{Messages: newestFirst}.AppendText(nil))
	want := "1\t2026-11-20T12:00:00Z\tfirst\n2\t2026-11-20T12:00:00Z\tsecond\n"
	if got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestDaysAreThoseOfTheZone(t *testing.T) {
	zone := time.FixedZone("UTC+2", 2*3600)
	messages := []*ent.Message{
		{ID: 4, RecordedAt: time.Date(2027, 11, 20, 12, 0, 0, 0, time.UTC)}, // a year later, the same day of the year
		{ID: 3, RecordedAt: time.Date(2026, 11, 20, 22, 30, 0, 0, time.UTC)},
		{ID: 2, RecordedAt: time.Date(2026, 11, 20, 21, 30, 0, 0, time.UTC)},
		{ID: 1, RecordedAt: time.Date(2026, 11, 20, 1, 0, 0, 0, time.UTC)},
	}
	var got []string
	for _, day := range (Messages{Messages: messages, Zone: zone}).days() {
		date := day[0].RecordedAt.In(zone).Format(time.DateOnly)
		for range day {
			got = append(got, date)
		}
	}
	want := "2027-11-20 2026-11-21 2026-11-20 2026-11-20"
	if strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

func TestJSONIsExact(t *testing.T) {
	at := time.Date(2026, 11, 20, 17, 42, 12, 120_000_000, time.UTC)
	got := Messages{Messages: []*ent.Message{{ID: 1, Value: "a\n\x1b\u202e", RecordedAt: at}}}.AppendJSON(nil)
	want := `{"messages":[{"id":1,"value":"a\n\u001b` + "\u202e" + `","recorded_at":"2026-11-20T17:42:12.120000Z"}]}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if empty := string(Messages{}.AppendJSON(nil)); empty != `{"messages":[]}` {
		t.Errorf("an empty list is %s, want an empty array", empty)
	}
}
