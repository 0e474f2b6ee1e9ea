package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

// settings say what is measured, for how long, and where the findings go.
type settings struct {
	messages    int // in the large database
	whole       int // messages in those that are sent whole or searched
	listeners   int
	window      time.Duration // of one measurement
	rounds      int
	connections []int // from 1 upwards
	many        int   // the one of them at which most is compared
	folder      string
}

// findings are what is measured.
type findings struct {
	flush      time.Duration // one flush of the disk
	points     []point       // recording, by connections
	slow       slow
	text, html page
	beside     beside
	sending    sending
	searching  searching
	listening  listening
	peak       int // the most memory in bytes that a process of ours has had resident
}

// bench is one run.
type bench struct {
	settings
	findings
	progress io.Writer
	self     string // this program
	scratch  string // the folder of the databases, the logs and the programs
	running  []*server
}

// run measures, and writes down the findings. However it ends, no process is left, and no other file.
func run(ctx context.Context, s settings, progress io.Writer) (err error) {
	b := &bench{settings: s, progress: progress}
	if _, err := b.document(); err != nil {
		return err // rather now than after minutes
	}
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	if b.scratch, err = os.MkdirTemp("", "daybook-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.scratch)
	build := exec.CommandContext(ctx, "go", "build", "-o", b.scratch, "daybook")
	if output, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build daybook: %w\n%s", err, output)
	}
	defer b.stop()
	for _, phase := range []func(context.Context) error{
		b.measureFlush, b.measureRecording, b.measureSlowDisk, b.measureReading, b.measureSending,
		b.measureSearching, b.measureListening,
	} {
		if err := phase(ctx); err != nil {
			return err
		}
		b.stop()
	}
	return b.write()
}

// path returns the path of a file in the scratch folder.
func (b *bench) path(name string) string {
	return filepath.Join(b.scratch, name)
}

// compare measures mixes of loads that run at the same time: one mix after another, round after round, so that whatever else the
// machine does meets all of them. It returns the medians, in the order of the loads.
func (b *bench) compare(ctx context.Context, what string, mixes ...[]load) ([]result, error) {
	rounds := make([][]result, b.rounds)
	for i := range rounds {
		for _, mix := range mixes {
			met, err := measure(ctx, b.window, mix)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", what, err)
			}
			rounds[i] = append(rounds[i], met...)
		}
	}
	var medians []result
	for i, l := range slices.Concat(mixes...) {
		r := result{
			perSecond: median(rounds, func(round []result) float64 { return round[i].perSecond }),
			p99:       median(rounds, func(round []result) time.Duration { return round[i].p99 }),
		}
		fmt.Fprintf(b.progress, "%s: %s %s\n", what, l.server.name, r)
		medians = append(medians, r)
	}
	return medians, nil
}

// median returns the median of what value returns for each.
func median[T any, V cmp.Ordered](all []T, value func(T) V) V {
	values := make([]V, len(all))
	for i, one := range all {
		values[i] = value(one)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// measureFlush measures what one flush of the disk takes.
func (b *bench) measureFlush(context.Context) error {
	file, err := os.Create(b.path("flush"))
	if err != nil {
		return err
	}
	defer file.Close()
	const times = 100
	begin := time.Now()
	for range times {
		_, err := file.WriteAt(make([]byte, 4096), 0)
		if err := errors.Join(err, file.Sync()); err != nil {
			return err
		}
	}
	b.flush = time.Since(begin) / times
	return nil
}
