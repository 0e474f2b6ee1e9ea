package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"io"
	"math"
	"os"
	"regexp"
	"runtime"
	"strings"
	"text/template"
	"time"

	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// english writes numbers with commas.
var english = message.NewPrinter(language.English)

// print adds text to the tables, and shows it as progress.
func (b *bench) print(format string, args ...any) {
	if b.err == nil {
		english.Fprintf(io.MultiWriter(&b.tables, b.progress), format, args...)
	}
}

// table begins a table.
func (b *bench) table(title string, head ...any) {
	b.print("\n### %s\n\n", title)
	b.row(head...)
	b.print("| ---%s |\n", strings.Repeat(" | ---:", len(head)-1))
}

// row adds a row to the table.
func (b *bench) row(cells ...any) { b.print("|"+strings.Repeat(" %v |", len(cells))+"\n", cells...) }

func (r result) String() string {
	return english.Sprintf("%.0f/s (%s)", r.perSecond, milliseconds(r.p99))
}

func milliseconds(d time.Duration) string { return english.Sprintf("%.1f ms", d.Seconds()*1000) }

// place is where the document has the tables. The text around them is written by hand.
var place = regexp.MustCompile(`(?s)<!-- measured: begin -->\n.*<!-- measured: end -->\n`)

// write puts the tables into the document, and the picture beside it.
func (b *bench) write() {
	b.print("\nMeasured with %s on %s/%s, with %d cores, and %d messages to list. Each number is the median of %d rounds.\n"+
		"A round of requests takes %s.\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), b.messages, b.rounds, b.duration)
	document, err := os.ReadFile(b.folder + "/benchmarks.md")
	b.fail(err)
	var picture bytes.Buffer
	b.fail(plot.Execute(&picture, b.charts))
	if b.err != nil {
		return
	}
	tables := fmt.Sprintf("<!-- measured: begin -->%s<!-- measured: end -->\n", &b.tables)
	document = place.ReplaceAllLiteral(document, []byte(tables))
	b.fail(os.WriteFile(b.folder+"/benchmarks.md", document, 0o644))
	b.fail(os.WriteFile(b.folder+"/benchmarks.svg", picture.Bytes(), 0o644))
}

//go:embed plot.svg
var plotSource string

var plot = template.Must(template.New("plot").Parse(plotSource))

// chart is what a kind of request measures over the numbers of connections.
type chart struct {
	Title       string
	Connections []int
	Lines       [3][]float64 // requests a second of Echo alone, the usual way and Daybook
}

// X returns the place of the i-th number of connections.
func (c chart) X(i int) float64 { return 90 + 314*float64(i)/float64(len(c.Connections)-1) }

// Y returns the place of a number of requests a second. The scale is logarithmic: the same distance is the same ratio.
func (c chart) Y(perSecond float64) float64 { return 302 - 200.0/3*math.Log10(max(100, perSecond)/100) }
