package main

import (
	"context"
	_ "embed"
	"os"
	"os/exec"
)

// slow is what recording meets on a disk whose flush takes 2 ms more.
type slow struct {
	usual, ours result
	not         string // why it was not measured
}

// slowed is more than one connection can record in a second when each message waits 2 ms for the disk.
const slowed = 500

//go:embed slowdisk/slowdisk.c
var slowDiskSource []byte

// measureSlowDisk measures POST /record on a slow disk, where one can be had.
func (b *bench) measureSlowDisk(ctx context.Context) error {
	source, program := b.path("slowdisk.c"), b.path("slowdisk")
	if err := os.WriteFile(source, slowDiskSource, 0o600); err != nil {
		return err
	}
	if exec.CommandContext(ctx, "cc", "-o", program, source).Run() != nil {
		b.slow.not = "it takes Linux and a C compiler"
		return ctx.Err()
	}
	if exec.CommandContext(ctx, program).Run() != nil {
		b.slow.not = "the system does not allow seccomp"
		return ctx.Err()
	}
	usual, ours := b.usual("slow-usual.db").by(program), b.ours("slow-ours.db").by(program)
	if err := b.serve(ctx, usual, ours); err != nil {
		return err
	}
	for _, s := range []*server{usual, ours} {
		alone, err := measure(ctx, b.window, []load{post(s, 1)})
		if err != nil {
			return err
		}
		if alone[0].perSecond > slowed {
			b.slow.not = "the flushes of " + s.name + " were not slowed"
			return nil
		}
	}
	r, err := b.compare(ctx, "record on a slow disk", []load{post(usual, b.many)}, []load{post(ours, b.many)})
	if err != nil {
		return err
	}
	b.slow.usual, b.slow.ours = r[0], r[1]
	return nil
}
