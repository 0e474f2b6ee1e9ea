package main

import (
	"cmp"
	_ "embed"
	"math"
	"slices"
	"text/template"
)

// Where things are in the plot. Its words and looks are in plot.svg.
const (
	top, bottom = 116.0, 336.0
	width       = 256.0
	nameHeight  = 18.0 // the names at the ends of the lines keep this distance
)

//go:embed plot.svg
var plotSource string

var plot = template.Must(template.New("plot").Funcs(template.FuncMap{"count": count[float64]}).Parse(plotSource))

// panel is one diagram of the plot.
type panel struct {
	Title       string
	Left, Right float64
	Rows        []mark // of the vertical axis
	Columns     []mark // of the horizontal one
	Lines       []*line
}

// mark is a value and its place on an axis.
type mark struct{ Value, At float64 }

// line is what one server has met.
type line struct {
	Class, Name string
	Dots        []dot
	NameY       float64
}

type dot struct{ X, Y float64 }

// panels draws how much is recorded, and how long that takes.
func panels(points []point) []panel {
	perSecond := func(r result) float64 { return r.perSecond }
	milliseconds := func(r result) float64 { return r.p99.Seconds() * 1000 }
	return []panel{
		draw(points, "Requests a second", 72, perSecond, linear),
		draw(points, "99th percentile, in milliseconds", 520, milliseconds, logarithmic),
	}
}

// axis returns the values that are marked, from the bottom to the top, and what grows with the height.
type axis func(low, high float64) (marks []float64, scale func(float64) float64)

// draw draws one value of the points.
func draw(points []point, title string, left float64, value func(result) float64, vertical axis) panel {
	bare := &line{Class: "bare", Name: "Echo alone"}
	usual := &line{Class: "usual", Name: "ent, as usual"}
	ours := &line{Class: "ours", Name: "Daybook"}
	p := panel{Title: title, Left: left, Right: left + width, Lines: []*line{bare, usual, ours}}
	var values []float64
	for _, point := range points {
		values = append(values, value(point.Bare), value(point.Usual), value(point.Ours))
	}
	marks, scale := vertical(slices.Min(values), slices.Max(values))
	low, high := scale(marks[0]), scale(marks[len(marks)-1])
	y := func(v float64) float64 { return bottom + (top-bottom)*(scale(v)-low)/(high-low) }
	for _, v := range marks {
		p.Rows = append(p.Rows, mark{v, y(v)})
	}
	most := math.Log2(float64(points[len(points)-1].Connections))
	for _, point := range points {
		n := float64(point.Connections)
		x := left + width*math.Log2(n)/most
		p.Columns = append(p.Columns, mark{n, x})
		bare.Dots = append(bare.Dots, dot{x, y(value(point.Bare))})
		usual.Dots = append(usual.Dots, dot{x, y(value(point.Usual))})
		ours.Dots = append(ours.Dots, dot{x, y(value(point.Ours))})
	}
	nameLines(bare, usual, ours)
	return p
}

// nameLines places the names at the ends of the lines, but not over each other.
func nameLines(lines ...*line) {
	for _, l := range lines {
		l.NameY = l.Dots[len(l.Dots)-1].Y
	}
	slices.SortFunc(lines, func(a, b *line) int { return cmp.Compare(a.NameY, b.NameY) })
	for i, l := range lines[1:] {
		l.NameY = max(l.NameY, lines[i].NameY+nameHeight)
	}
}

// linear is an axis from 0 in at most four round steps.
func linear(_, high float64) (marks []float64, scale func(float64) float64) {
	step := math.Pow(10, math.Floor(math.Log10(high)-1))
	for i := 0; high/step > 4; i++ {
		step *= []float64{2, 2.5, 2}[i%3] // 1, 2, 5, 10
	}
	for v := 0.0; v < high+step; v += step {
		marks = append(marks, v)
	}
	return marks, func(v float64) float64 { return v }
}

// logarithmic is an axis of powers of ten.
func logarithmic(low, high float64) (marks []float64, scale func(float64) float64) {
	for power := math.Floor(math.Log10(low)); power < math.Log10(high)+1; power++ {
		marks = append(marks, math.Pow(10, power))
	}
	return marks, math.Log10
}
