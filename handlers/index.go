package handlers

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"

	"daybook/database"
	"daybook/ent"
	"daybook/ent/slice"
	"daybook/views"
)

// The index tells a search where it need not look: each full segment of the book has the signatures of its messages, stored by bit
// rather than by message, in slices. A search reads the few slices of its words, and the messages to look at are those whose
// bits are set in all of them.
//
// It only ever saves time: what is found has been read, and a segment that has no slices yet, as the newest one that is still
// being filled, is read whole.

// segmentSize is how many messages are indexed at once: as many as have slices of 1008 bytes, of which four fit on a page of
// SQLite's.
const segmentSize = 8064

// index indexes what recording has filled, unless that is being done: what is filled meanwhile has its turn with the next segment.
// It stops when the server shuts down, and goes on when it is started again.
func (b book) index() {
	if !b.indexing.TryLock() {
		return
	}
	defer b.indexing.Unlock()
	if err := Index(b.over, b.client); err != nil && b.over.Err() == nil {
		b.log.LogAttrs(b.over, slog.LevelError, "index", slog.Any("error", err))
	}
}

// Index indexes each full segment that is not yet: one after which a message has been recorded, so that, as there is one writer,
// none of its own can come any more.
func Index(ctx context.Context, client *ent.Client) error {
	book, err := filled(ctx, client)
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	last, err := client.Slice.Query().Order(ent.Desc(slice.FieldID)).FirstID(ctx)
	if ent.MaskNotFound(err) != nil {
		return fmt.Errorf("index: %w", err)
	}
	segment := book.first / segmentSize
	if err == nil {
		segment = max(segment, last/signatureSize+1)
	}
	for ; segment < book.last/segmentSize; segment++ {
		if err := indexSegment(ctx, client, segment); err != nil {
			return fmt.Errorf("index segment %d: %w", segment, err)
		}
	}
	return nil
}

// indexSegment stores the slices of one segment.
func indexSegment(ctx context.Context, client *ent.Client, segment int) error {
	parts, err := sliceSegment(ctx, client, segment)
	if err != nil {
		return err
	}
	tx, err := client.Tx(ctx)
	if err != nil {
		return err
	}
	for i := 0; i < len(parts) && err == nil; i += chunkSize {
		some := parts[i : i+chunkSize] // all at once would take megabytes for the statement
		err = tx.Slice.MapCreateBulk(some, func(create *ent.SliceCreate, bit int) {
			create.SetID(segment*signatureSize + i + bit).SetBits(some[bit])
		}).Exec(ctx)
	}
	if err != nil {
		err = errors.Join(err, tx.Rollback())
	} else {
		err = tx.Commit()
	}
	if database.IsConstraint(err) {
		return nil // somebody else has been faster
	}
	return err
}

// sliceSegment returns the slices of a segment.
func sliceSegment(ctx context.Context, client *ent.Client, segment int) ([][]byte, error) {
	parts := make([][]byte, signatureSize)
	for bit := range parts {
		parts[bit] = make([]byte, segmentSize/8)
	}
	var some signatures
	n := 0 // of those before them, in steps of as many
	for m, err := range segmentSpan(segment).rows(ctx, client, oldestFirst) {
		if err != nil {
			return nil, err
		}
		i := m.ID % segmentSize
		if i/len(some) != n {
			some.cut(parts, n)
			some, n = signatures{}, i/len(some)
		}
		some[i%len(some)] = sign(views.Fold(m.Value))
	}
	some.cut(parts, n)
	return parts, nil
}

// candidates yields the numbers of the messages in the span that may contain all the words, in order, some at a time.
func candidates(ctx context.Context, client *ent.Client, s span, order order, words views.Words) iter.Seq2[[]int, error] {
	return func(yield func([]int, error) bool) {
		filled, err := filled(ctx, client)
		if err != nil {
			yield(nil, err)
			return
		}
		s = s.within(filled)
		set := bitsOf(words)
		for segment := range segments(s, order) {
			mask, err := look(ctx, client, segment, set)
			if err != nil {
				yield(nil, err)
				return
			}
			numbers := numbersIn(mask, segmentSpan(segment), s)
			if order == newestFirst {
				slices.Reverse(numbers)
			}
			for some := range slices.Chunk(numbers, chunkSize) {
				if !yield(some, nil) {
					return
				}
			}
		}
	}
}

// filled returns the span from the oldest message to the newest.
func filled(ctx context.Context, client *ent.Client) (span, error) {
	oldest, err := everything.query(client, oldestFirst).FirstID(ctx)
	if err != nil {
		return nothing, ent.MaskNotFound(err)
	}
	newest, err := everything.query(client, newestFirst).FirstID(ctx)
	return span{oldest, newest}, err
}

// segments yields the numbers of the segments that the span has a part in, in order.
func segments(s span, order order) iter.Seq[int] {
	return func(yield func(int) bool) {
		first, last := s.first/segmentSize, s.last/segmentSize
		for i := range last - first + 1 {
			segment := first + i
			if order == newestFirst {
				segment = last - i
			}
			if !yield(segment) {
				return
			}
		}
	}
}

// segmentSpan returns which messages the segment has.
func segmentSpan(segment int) span {
	return span{segment * segmentSize, (segment+1)*segmentSize - 1}
}

// maxBits is how many bits are looked at. Those of a long text are far more than it takes.
const maxBits = 48

// bitsOf returns the bits of the words' signatures, or a sample of them.
func bitsOf(words views.Words) []int {
	all := slices.Collect(sign(strings.Join(words, " ")).bits())
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:min(len(all), maxBits)]
}

// look returns the messages of a segment that have all the bits set, or nil if it is not indexed.
func look(ctx context.Context, client *ent.Client, segment int, set []int) (mask []byte, err error) {
	numbers := make([]int, len(set))
	for i, bit := range set {
		numbers[i] = segment*signatureSize + bit
	}
	found, err := client.Slice.Query().Where(slice.IDIn(numbers...)).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the index: %w", err)
	}
	for _, slice := range found {
		if mask == nil {
			mask = slice.Bits
		}
		for i := range mask {
			mask[i] &= slice.Bits[i]
		}
	}
	return mask, nil
}

// numbersIn returns the numbers of a segment's messages that are in the mask, or of all if there is none, and in the span.
func numbersIn(mask []byte, segment, s span) (numbers []int) {
	part := segment.within(s)
	for n := part.first; n <= part.last; n++ {
		if i := n - segment.first; mask == nil || mask[i/8]>>(i%8)&1 == 1 {
			numbers = append(numbers, n)
		}
	}
	return numbers
}
