package views

import (
	"cmp"
	"context"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/apparentlymart/go-textseg/v15/textseg"
	"github.com/dustin/go-humanize"
)

// How much of a message a list shows. Its own page shows it whole.
const (
	maxLines      = 24
	maxCharacters = 2000
)

// maxTitle is how many characters a title has.
const maxTitle = 80

// fragment is a piece of HTML.
type fragment string

// Render writes the fragment.
func (f fragment) Render(_ context.Context, w io.Writer) error {
	_, err := io.WriteString(w, string(f))
	return err
}

// textOf returns a message's value with a newline at the end of each line, which is what a browser makes of it.
func textOf(value string) string {
	if !strings.Contains(value, "\r") {
		return value
	}
	return strings.ReplaceAll(strings.ReplaceAll(value, "\r\n", "\n"), "\r", "\n")
}

// column matches a gap between two columns of a line, but not the two spaces between two sentences.
var column = regexp.MustCompile("\t|   |" + `[^.!?…)"'”’»]  `)

// isCode reports whether a text looks like code or a table: at least two of its lines, and a quarter of them, are indented or
// have columns. Items of a list and first lines of paragraphs do not count as indented.
func isCode(text string) bool {
	if !strings.Contains(text, "\n") || !strings.Contains(text, "  ") && !strings.Contains(text, "\t") {
		return false
	}
	shaped, lines, beginsParagraph := 0, 0, false
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimRight(line, " \t")
		if line == "" {
			beginsParagraph = true
			continue
		}
		if isIndented(line) && !beginsParagraph || column.MatchString(strings.TrimLeft(line, " \t")) {
			shaped++
		}
		lines, beginsParagraph = lines+1, false
	}
	return shaped >= 2 && shaped*4 >= lines
}

// isIndented reports whether a line begins with two spaces or a tab, and is not an item of a list.
func isIndented(line string) bool {
	text := strings.TrimLeft(line, " \t")
	indent := line[:len(line)-len(text)]
	for _, item := range []string{"- ", "* ", "• "} {
		if strings.HasPrefix(text, item) {
			return false
		}
	}
	return len(indent) >= 2 || indent == "\t"
}

// excerpt returns the length of the beginning of a text that a list shows.
func excerpt(text string) int {
	end := 0
	for range maxLines {
		i := strings.IndexByte(text[end:], '\n')
		if i < 0 {
			return shorten(text, maxCharacters)
		}
		end += i + 1
	}
	return shorten(text[:end-1], maxCharacters)
}

// shorten returns the length of the beginning of a text that has at most so many characters. It ends with a line or else with a
// word, and if there are only long words, before a link or between two graphemes.
func shorten(text string, characters int) int {
	end := characterOffset(text, characters)
	if end == len(text) {
		return end
	}
	half := end / 2
	for _, space := range []string{"\n", " \t"} {
		if i := strings.LastIndexAny(text[half:end+1], space); i >= 0 {
			return len(strings.TrimRight(text[:half+i], " \t\n"))
		}
	}
	for begin, linkEnd := range links(text) {
		if before := strings.TrimRight(text[:begin], " \t\n"); before != "" && begin < end && end < linkEnd {
			return len(before)
		}
	}
	return graphemeOffset(text, end)
}

// characterOffset returns where the character of that number begins, or the text's length.
func characterOffset(text string, number int) int {
	if len(text) <= number {
		return len(text)
	}
	for offset := range text {
		if number == 0 {
			return offset
		}
		number--
	}
	return len(text)
}

// graphemeOffset returns where the grapheme at the offset begins. The first one of the text is divided: it may be endless.
func graphemeOffset(text string, offset int) int {
	bytes, begin := []byte(text), 0
	for {
		size, _, err := textseg.ScanGraphemeClusters(bytes[begin:], true)
		if err != nil || size == 0 || begin+size > offset {
			return cmp.Or(begin, offset)
		}
		begin += size
	}
}

// more says how much of a text follows the shown part, such as "985 more lines". It returns "" if nothing does.
func more(text string, shown int) string {
	rest := text[shown:]
	if rest == "" {
		return ""
	}
	n, unit := strings.Count(rest, "\n"), "line"
	if n == 0 {
		n, unit = utf8.RuneCountInString(rest), "character"
	} else if rest[0] != '\n' {
		n++ // the line that is cut
	}
	if n > 1 {
		unit += "s"
	}
	return humanize.Comma(int64(n)) + " more " + unit
}

// title returns the first line of a message, shortened.
func title(value string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(textOf(value)), "\n")
	line = strings.TrimRight(line, " \t")
	if end := shorten(line, maxTitle); end < len(line) {
		return line[:end] + "…"
	}
	return line
}
