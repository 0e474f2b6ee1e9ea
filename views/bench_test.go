package views

import (
	"fmt"
	"io"
	"testing"
	"time"

	"daybook/ent"
)

// BenchmarkMessages renders a page of 50 messages.
func BenchmarkMessages(b *testing.B) {
	page := Messages{Zone: time.UTC}
	for i := range 50 {
		page.Messages = append(page.Messages, &ent.Message{
			ID:         1000 - i,
			Value:      fmt.Sprintf("the backup of tonight has finished in %d minutes", i),
			RecordedAt: time.Date(2026, 11, 20, 18, 42, 12, 999_999_000, time.UTC).Add(-time.Duration(i) * time.Hour),
		})
	}
	b.Run("text", func(b *testing.B) {
		b.ReportAllocs()
		var text []byte
		for b.Loop() {
			text = page.AppendText(text[:0])
		}
	})
	b.Run("JSON", func(b *testing.B) {
		b.ReportAllocs()
		var text []byte
		for b.Loop() {
			text = page.AppendJSON(text[:0])
		}
	})
	b.Run("HTML", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := page.HTML("./").Render(b.Context(), io.Discard); err != nil {
				b.Fatal(err)
			}
		}
	})
}
