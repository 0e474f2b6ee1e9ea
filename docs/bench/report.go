package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"text/template"
)

// place is where the document has the tables. What is around them is written by hand.
var place = regexp.MustCompile(`(?s)<!-- measured: begin -->\n.*<!-- measured: end -->\n`)

//go:embed tables.md
var tablesSource string

var tables = template.Must(template.New("tables").Funcs(template.FuncMap{"latency": latency}).Parse(tablesSource))

// document returns benchmarks.md as it is.
func (b *bench) document() ([]byte, error) {
	content, err := os.ReadFile(filepath.Join(b.folder, "benchmarks.md"))
	if err != nil {
		return nil, fmt.Errorf("%w (this runs at the repository's root)", err)
	}
	if !place.Match(content) {
		return nil, fmt.Errorf("benchmarks.md has no place for the tables: %s", place)
	}
	return content, nil
}

// write puts the tables into the document, and the plot beside it.
func (b *bench) write() error {
	content, err := b.document()
	if err != nil {
		return err
	}
	var text, picture bytes.Buffer
	if err := tables.Execute(&text, map[string]any{
		"Rows": b.rows(), "Points": b.points,
		"Rounds": b.rounds, "Window": b.window, "Flush": latency(b.flush),
		"System": runtime.GOOS + "/" + runtime.GOARCH, "Cores": runtime.NumCPU(), "Go": runtime.Version(),
	}); err != nil {
		return err
	}
	if err := plot.Execute(&picture, panels(b.points)); err != nil {
		return err
	}
	content = place.ReplaceAllLiteral(content, text.Bytes())
	if err := os.WriteFile(filepath.Join(b.folder, "benchmarks.md"), content, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(b.folder, "benchmarks.svg"), picture.Bytes(), 0o644)
}
