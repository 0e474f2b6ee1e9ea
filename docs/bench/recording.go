package main

import (
	"context"
	"fmt"
	"slices"
)

// point is what recording meets on so many connections.
type point struct {
	Connections       int
	Bare, Usual, Ours result
}

// measureRecording measures POST /record.
func (b *bench) measureRecording(ctx context.Context) error {
	bare, usual, ours := b.bare(""), b.usual("usual.db"), b.ours("ours.db")
	if err := b.serve(ctx, bare, usual, ours); err != nil {
		return err
	}
	for _, n := range b.connections {
		r, err := b.compare(ctx, fmt.Sprintf("record, %d at once", n),
			[]load{post(bare, n)}, []load{post(usual, n)}, []load{post(ours, n)})
		if err != nil {
			return err
		}
		b.points = append(b.points, point{n, r[0], r[1], r[2]})
	}
	return nil
}

// at returns what recording has met on so many of the connections.
func (b *bench) at(connections int) point {
	return b.points[slices.Index(b.connections, connections)]
}
