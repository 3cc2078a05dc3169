package h2

import (
	"encoding/binary"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2/hpack"
)

// maxRoutes is how many headers of a connection have their routes remembered.
const maxRoutes = 8

// knownRoutes are the routes of the last headers of a connection by their encoded form,
// which is most often the same again. A path that does not come again, as that of a GET with
// a query, is kept out of the table by most clients. Without it the form is the same.
type knownRoutes struct {
	byBlock  map[string]*routed
	inserted uint64 // Of the decoder: the blocks mean the same until its table changes.
	key      []byte // Scratch of split.
}

func (k *knownRoutes) find(block []byte, inserted uint64) *routed {
	if k.inserted != inserted {
		return nil
	}
	return k.byBlock[string(block)]
}

func (k *knownRoutes) add(block []byte, inserted uint64, r *routed) {
	if k.inserted != inserted || len(k.byBlock) == maxRoutes {
		k.byBlock = make(map[string]*routed)
	}
	k.byBlock[string(block)], k.inserted = r, inserted
}

// isLiteralPath reports whether a field that begins with this byte is a :path that is not
// added to the table (RFC 7541 section 6.2): the static table has that name twice.
func isLiteralPath(first byte) bool {
	const neverIndexed = 0x10 // Keeps proxies from adding it, too.
	first &^= neverIndexed
	return first == 4 || first == 5
}

// split takes the path out of a block that cutPath knows, unless too much is left to be
// remembered. The key is what is left, which holds until the next call.
func (k *knownRoutes) split(block []byte) (key []byte, path encodedString, ok bool) {
	before, path, after, ok := cutPath(block)
	if !ok || len(before) == len(block) {
		return block, path, ok
	}
	if len(before)+len(after) > tableSize {
		return nil, path, false
	}
	k.key = append(append(k.key[:0], before...), after...)
	return k.key, path, true
}

// cutPath cuts a block that has nothing but references to the table and a path around that
// path: it leaves the table alone. Where the path is a reference, too, all of the block is
// before it. ok is false for other blocks.
func cutPath(block []byte) (before []byte, path encodedString, after []byte, ok bool) {
	at := indexedPrefix(block)
	if at == len(block) {
		return block, path, nil, true
	}
	if !isLiteralPath(block[at]) {
		return nil, path, nil, false
	}
	path, after, ok = cutString(block[at+1:])
	return block[:at+1], path, after, ok && onlyIndexed(after)
}

// encodedString is a string as HPACK has it.
type encodedString struct {
	data    []byte
	huffman bool
}

// cutString returns the string that a part of a block begins with, and what follows it. It
// returns false where the string is not whole.
func cutString(b []byte) (s encodedString, after []byte, ok bool) {
	const long = 0x7f // The length goes on in more bytes.
	if len(b) == 0 {
		return s, nil, false
	}
	length, start := int(b[0]&long), 1
	if length == long {
		more, n := binary.Uvarint(b[1:])
		if n <= 0 || more > uint64(len(b)) {
			return s, nil, false
		}
		length, start = length+int(more), start+n
	}
	if length > len(b)-start {
		return s, nil, false
	}
	end := start + length
	return encodedString{data: b[start:end], huffman: b[0]&0x80 != 0}, b[end:], true
}

// text is the string itself. It returns false where it is broken.
func (s encodedString) text() (string, bool) {
	if !s.huffman {
		return string(s.data), true
	}
	var room [256]byte // For most paths.
	if text, ok := decodeHuffman(room[:0], s.data); ok {
		return string(text), true
	}
	text, err := hpack.HuffmanDecodeToString(s.data)
	return text, err == nil
}

// known returns what answers requests with a header that has come before, but for its path
// perhaps, or nil for one that has to be looked at.
func (c *conn) known(block []byte) *routed {
	key, encoded, ok := c.routes.split(block)
	if !ok {
		return nil
	}
	like := c.routes.find(key, c.decoder.inserted)
	if like == nil || encoded.data == nil {
		return like
	}
	path, ok := encoded.text()
	if !ok || path == "" || !httpguts.ValidHeaderFieldValue(path) {
		return nil
	}
	return c.routeTo(path, like)
}

// routeTo returns what answers requests with a known header, but this path, or nil.
func (c *conn) routeTo(path string, like *routed) *routed {
	r := &routed{head: like.head}
	r.head.Path = path
	if r.head.size += len(path) - len(like.head.Path); r.head.size > c.decoder.limit {
		return nil
	}
	if r.route = c.srv.config.Direct.Route(c.ctx, &r.head.Head, like.route); r.route == nil {
		return nil
	}
	return r
}
