// Command bench measures Daybook beside two alternatives. At the repository's root, "go run ./docs/bench" writes the
// results into docs/benchmarks.md, and draws docs/benchmarks.svg. All servers are processes of their own. The
// alternatives are this program again, with the name of one as its argument.
package main

import (
	"context"
	"flag"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"daybook/docs/bench/crowd"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) == 3 && os.Args[1] == "echo" {
		log.Fatal(echoAlone(os.Args[2]))
	}
	if len(os.Args) == 3 && os.Args[1] == "usual" {
		log.Fatal(usualWay(os.Args[2], documentedIdle))
	}
	if len(os.Args) == 3 && os.Args[1] == "tuned" {
		log.Fatal(usualWay(os.Args[2], tunedIdle))
	}
	b := bench{connections: []int{1, 4, 16, 64, 256}, recorders: 64, listeners: 5000, crowd: crowd.Large, folder: "docs", progress: os.Stderr}
	flag.IntVar(&b.messages, "messages", 1_000_000, "messages in the database that is listed and searched")
	flag.DurationVar(&b.duration, "duration", time.Second, "length of one measurement")
	flag.IntVar(&b.rounds, "rounds", 5, "how often each measurement is repeated; the median counts")
	flag.BoolVar(&b.onlyPostgres, "postgres", false, "measure on PostgreSQL only, and write nothing")
	flag.BoolVar(&b.onlyCrowd, "crowd", false, "measure in a crowd only, and write nothing")
	flag.StringVar(&b.daybook, "daybook", "", "measure this `binary` instead of the one of this repository")
	flag.Parse()
	// Each of these signals would otherwise end this process, but not the servers.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	if err := b.run(ctx); err != nil {
		log.Fatal(err)
	}
}
