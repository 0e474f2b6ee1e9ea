package handlers

import (
	"encoding/binary"
	"iter"
	"math/bits"
	"unicode"
)

// signatureSize is how many bits a signature has.
const signatureSize = 1024

// signature is bits that a text sets: each sequence of one, two or three characters in a word sets some, which a hash chooses. So a
// message that contains a word has set all the bits of that word. (C. S. Roberts, Partial-Match Retrieval via the Method of
// Superimposed Codes, 1979; Goodwin and others, BitFunnel, 2017, store them by bit.)
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

// signatures are those of as many messages as are put in their slices at once, which is many times as fast as bit by bit.
type signatures [64]signature

// cut puts the n-th signatures of a segment into its slices.
func (s *signatures) cut(slices [][]byte, n int) {
	for word := range signatureSize / 64 {
		var square [64]uint64
		for i := range square {
			square[i] = s[i][word]
		}
		transpose(&square)
		for i, row := range square {
			binary.LittleEndian.PutUint64(slices[64*word+i][8*n:], row)
		}
	}
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
