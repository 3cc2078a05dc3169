package h2

import (
	"strings"

	"golang.org/x/net/http2/hpack"
)

// shortBits is the length of the longest Huffman codes (RFC 7541, appendix B) that decoding
// has at hand: those of the characters that paths most often have are not longer.
const shortBits = 10

// shortCodes are the characters whose codes bits begin with, and the lengths of the codes in
// bits. Longer ones have the length 0.
var shortCodes = func() (codes [1 << shortBits]struct{ char, length byte }) {
	for char := range 256 {
		text := string([]byte{byte(char)})
		length := int(hpack.HuffmanEncodeLength(strings.Repeat(text, 8))) // Bytes of eight are bits of one.
		if length > shortBits {
			continue
		}
		code := append(hpack.AppendHuffmanString(nil, text), 0)
		first := (int(code[0])<<8 | int(code[1])) >> (16 - length) << (shortBits - length)
		for i := range 1 << (shortBits - length) {
			codes[first+i].char, codes[first+i].length = byte(char), byte(length)
		}
	}
	return codes
}()

// decodeHuffman appends the text of a string in Huffman's code to b. It returns false where
// the string is broken or has a long code: then package hpack has to look at it.
func decodeHuffman(b, encoded []byte) ([]byte, bool) {
	const size = 64
	var bits uint64 // Those that come next, from the highest on; and how many these are.
	left := 0
	for {
		for ; left <= size-8 && len(encoded) > 0; left += 8 {
			bits |= uint64(encoded[0]) << (size - 8 - left)
			encoded = encoded[1:]
		}
		code := shortCodes[bits>>(size-shortBits)]
		if length := int(code.length); length == 0 || length > left {
			return b, left < 8 && bits == ^uint64(0)<<(size-left) // It ends with less than a byte of ones.
		}
		b = append(b, code.char)
		bits <<= code.length
		left -= int(code.length)
	}
}
