package book

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"daybook/ent"
	"daybook/ent/message"
	"daybook/ent/schema"
)

// maxID is the greatest number that a message may have: greater ones are not exact in JSON for many programs, and after SQLite's
// greatest one nothing more could be recorded.
const maxID = 1<<53 - 1

// MaxKey is the size in bytes of the longest idempotency key.
const MaxKey = 255

// entry is a line of an export: a message, or the removal of one, which has no value.
type entry struct {
	ID         int       `json:"id"`
	Removes    int       `json:"removes,omitempty"`
	Value      string    `json:"value,omitempty"`
	RecordedAt time.Time `json:"recorded_at"`
	Key        string    `json:"idempotency_key,omitempty"`

	Line int `json:"-"`
}

// entryOf returns what the database has as an entry.
func entryOf(m *ent.Message) entry {
	e := entry{ID: m.ID, RecordedAt: m.RecordedAt.UTC().Truncate(time.Microsecond), Key: m.IdempotencyKey}
	if m.Removes == nil {
		e.Value = m.Value
	} else {
		e.Removes = *m.Removes
	}
	return e
}

// ValidKey reports whether a text can be an idempotency key.
func ValidKey(key string) bool {
	return len(key) <= MaxKey && utf8.ValidString(key) && !strings.ContainsRune(key, 0)
}

// parser reads entries from lines of JSON. A decoder for each line would take longer than reading it.
type parser struct {
	decoder *json.Decoder // nil before the first line, and after an error
	line    bytes.Reader
	end     int64 // of the line, in what the decoder has read
}

// parse reads and checks an entry. It refuses what encoding/json would alter, and fields that it does not know: what they say would
// be lost, or they are a misspelt idempotency_key.
func (p *parser) parse(line []byte) (e entry, err error) {
	if !utf8.Valid(line) {
		return e, errors.New("the line is not valid UTF-8 text")
	}
	if p.decoder == nil {
		p.decoder, p.end = json.NewDecoder(&p.line), 0
		p.decoder.DisallowUnknownFields()
	}
	p.line.Reset(line)
	p.end += int64(len(line))
	err = p.decoder.Decode(&e)
	if err == nil && p.decoder.InputOffset() != p.end {
		err = errors.New("there is something after the object")
	}
	if err != nil {
		p.decoder = nil
		return e, fmt.Errorf("the line is not one of an export (%s)", strings.TrimPrefix(err.Error(), "json: "))
	}
	e.RecordedAt = e.RecordedAt.UTC().Truncate(time.Microsecond)
	if HalfPair(line) {
		return e, errors.New(`the line has half of a surrogate pair, such as \ud83d alone`)
	}
	return e, e.check()
}

// HalfPair reports whether valid JSON has half of a surrogate pair, such as \ud83d alone. encoding/json replaces it by U+FFFD.
func HalfPair(json []byte) bool {
	unit := func(i int) rune { // the UTF-16 code unit of an escape \u at i
		if i+6 > len(json) || json[i] != '\\' || json[i+1] != 'u' {
			return 0
		}
		n, _ := strconv.ParseUint(string(json[i+2:i+6]), 16, 16)
		return rune(n)
	}
	for i := 0; i < len(json); i++ {
		if json[i] != '\\' {
			continue
		}
		if first := unit(i); utf16.IsSurrogate(first) {
			if utf16.DecodeRune(first, unit(i+6)) == utf8.RuneError {
				return true
			}
			i += 6
		}
		i++ // the escaped character, which may be a backslash
	}
	return false
}

// check returns why the entry cannot be in the log.
func (e entry) check() error {
	switch {
	case e.ID < 1 || e.ID > maxID:
		return fmt.Errorf("id must be between 1 and %d", maxID)
	case e.RecordedAt.IsZero():
		return errors.New("it has no recorded_at")
	case e.RecordedAt.Year() < 1 || e.RecordedAt.Year() > 9999: // which time.Time cannot write as JSON
		return errors.New("recorded_at must be in the years 1 to 9999 of UTC")
	case e.Removes != 0 && (e.Value != "" || e.Key != ""):
		return errors.New("it has removes, and a value or a key, too")
	case e.Removes != 0 && (e.Removes < 1 || e.Removes >= e.ID):
		return errors.New("removes must be between 1 and the number before id")
	case !ValidKey(e.Key):
		return fmt.Errorf("idempotency_key must be text of at most %d bytes", MaxKey)
	case e.Removes != 0:
		return nil
	}
	if len(e.Value) > schema.MaxValue {
		return fmt.Errorf("the message has %d bytes, more than the %d that are allowed", len(e.Value), schema.MaxValue)
	}
	if err := message.ValueValidator(e.Value); err != nil {
		return fmt.Errorf("the message %w", err)
	}
	return nil
}

// content is what makes an entry the same as another one with its number. It is short: a value may have 16 MiB.
type content struct {
	removes    int
	recordedAt int64 // microseconds
	value      [sha256.Size]byte
}

func (e entry) content() content {
	return content{e.Removes, e.RecordedAt.UnixMicro(), sha256.Sum256([]byte(e.Value))}
}
