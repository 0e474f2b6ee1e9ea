// Command bench measures Daybook beside its alternatives, writes what it finds into docs/benchmarks.md, and draws it in
// docs/benchmarks.svg. It runs at the repository's root:
//
//	go run ./docs/bench
//
// The servers are processes of their own, to which it speaks HTTP: "ours" is daybook, built from this repository; "bare", Echo
// alone, which stores nothing, and "usual", Echo and ent with a transaction for each request as one usually writes it, are
// this program again.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	if err := command(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// command is one of the small servers, if that is what the arguments ask for, and otherwise the benchmark.
func command(args []string) error {
	if len(args) == 2 && args[0] == "bare" {
		return bare(args[1])
	}
	if len(args) == 2 && args[0] == "usual" {
		return usual(args[1])
	}
	s := settings{connections: []int{1, 4, 16, 64, 256}, many: 64, whole: 1_000_000, listeners: 5000, folder: "docs"}
	flag.IntVar(&s.messages, "messages", 10_000_000, "messages in the large database")
	flag.DurationVar(&s.window, "duration", time.Second, "length of one measurement")
	flag.IntVar(&s.rounds, "rounds", 5, "how often each is repeated; the median counts")
	flag.Parse()
	// Of these each would otherwise end this process, but not the servers.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	return run(ctx, s, os.Stderr)
}
