package handlers

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"math/bits"
	"math/rand/v2"
	"slices"
	"strings"
	"unicode"

	"daybook/database"
	"daybook/ent"
	"daybook/ent/message"
	"daybook/ent/slice"
	"daybook/views"
)

// The index tells a search where it need not look.
//
// A message has a signature of 1024 bits, some of which each sequence of one, two or three characters in a word of it sets; so a
// message that contains a word has set all the bits of that word's sequences. The signatures of a segment, 8192 messages, are
// stored by bit rather than by message, in slices of 1 KiB: a search reads the few slices of its words, and the messages to look
// at are those whose bits are set in all of them. (C. S. Roberts, Partial-Match Retrieval via the Method of Superimposed Codes,
// 1979; Goodwin and others, BitFunnel, 2017.)
//
// It only ever saves time: what is found has been read, and a segment that has no slices yet, as the newest one that is still
// being filled, is read whole.
const (
	segmentSize   = 8192
	signatureSize = 1024
)

// Index indexes each full segment that is not yet.
func Index(ctx context.Context, client *ent.Client) error {
	newest, err := client.Message.Query().Order(ent.Desc(message.FieldID)).FirstID(ctx)
	if ent.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	last, err := client.Slice.Query().Order(ent.Desc(slice.FieldID)).FirstID(ctx)
	if ent.MaskNotFound(err) != nil {
		return fmt.Errorf("index: %w", err)
	}
	segment := 0
	if err == nil {
		segment = last/signatureSize + 1
	}
	for ; segment < newest/segmentSize; segment++ {
		if err := indexSegment(ctx, client, segment); err != nil {
			return fmt.Errorf("index segment %d: %w", segment, err)
		}
	}
	return nil
}

// indexSegment stores the slices of one segment.
func indexSegment(ctx context.Context, client *ent.Client, segment int) error {
	signatures := make([]signature, segmentSize)
	for m, err := range segmentSpan(segment).rows(ctx, client, oldestFirst) {
		if err != nil {
			return err
		}
		signatures[m.ID%segmentSize] = sign(views.Fold(m.Value))
	}
	parts := cut(signatures)
	err := client.Slice.MapCreateBulk(parts, func(create *ent.SliceCreate, bit int) {
		create.SetID(segment*signatureSize + bit).SetBits(parts[bit])
	}).Exec(ctx)
	if database.IsConstraint(err) {
		return nil // somebody else has been faster
	}
	return err
}

// cut returns for each bit which of the signatures have it set. It takes 64 bits of 64 signatures at a time, which is many times
// as fast as a bit of one.
func cut(signatures []signature) [][]byte {
	parts := make([][]byte, signatureSize)
	for bit := range parts {
		parts[bit] = make([]byte, 0, len(signatures)/8)
	}
	for first := 0; first < len(signatures); first += 64 {
		for word := range signatureSize / 64 {
			var square [64]uint64
			for i := range square {
				square[i] = signatures[first+i][word]
			}
			transpose(&square)
			for i, row := range square {
				bit := 64*word + i
				parts[bit] = binary.LittleEndian.AppendUint64(parts[bit], row)
			}
		}
	}
	return parts
}

// transpose exchanges rows and columns of bits: first of the four quarters, then within each (Warren, Hacker's Delight, 7-3).
func transpose(square *[64]uint64) {
	mask := uint64(1)<<32 - 1
	for size := 32; size > 0; size /= 2 {
		for i := 0; i < 64; i = ((i | size) + 1) &^ size {
			t := (square[i]>>size ^ square[i|size]) & mask
			square[i] ^= t << size
			square[i|size] ^= t
		}
		mask ^= mask << (size / 2)
	}
}

// signature is the bits that a text sets.
type signature [signatureSize / 64]uint64

// bits yields the numbers of the bits that are set.
func (s signature) bits() iter.Seq[int] {
	return func(yield func(int) bool) {
		for i, word := range s {
			for ; word != 0; word &= word - 1 {
				if !yield(64*i + bits.TrailingZeros64(word)) {
					return
				}
			}
		}
	}
}

// sign returns the signature of folded text. What is stored depends on it. Short sequences set more bits than long ones, because a
// short word has few by which it can be told.
func sign(folded string) (s signature) {
	var a, b rune // the characters before c in its word
	for _, c := range folded {
		if unicode.IsSpace(c) {
			a, b = 0, 0
			continue
		}
		s.set(3, 0, 0, c)
		if b != 0 {
			s.set(2, 0, b, c)
		}
		if a != 0 {
			s.set(2, a, b, c)
		}
		a, b = b, c
	}
	return s
}

// printable is how many bits belong to one printable ASCII character each, of which folded text has no capitals.
const printable = '~' - ' ' - 26

// set sets n bits of a sequence, or the one that is its own if it is a printable character.
func (s *signature) set(n int, a, b, c rune) {
	switch {
	case b == 0 && '!' <= c && c < 'A':
		s[(c-'!')/64] |= 1 << ((c - '!') % 64)
		return
	case b == 0 && 'Z' < c && c <= '~':
		s[(c-'!'-26)/64] |= 1 << ((c - '!' - 26) % 64)
		return
	}
	hash := (uint64(a)<<42 | uint64(b)<<21 | uint64(c)) * 0x9e3779b97f4a7c15
	hash = (hash ^ hash>>32) * 0xd6e8feb86659fd93
	for ; n > 0; n-- {
		bit := printable + hash>>48*(signatureSize-printable)>>16
		s[bit/64] |= 1 << (bit % 64)
		hash <<= 16
	}
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
