package h2

import "sync"

const (
	chunkSize = 16 << 10 // Of a pooled chunk, in bytes.
	smallBody = 1 << 10  // A body that starts with less than this is not worth a chunk of the pool.
)

var chunks = sync.Pool{New: func() any { return new([chunkSize]byte) }}

// body is what of a request's body was received and not read yet.
type body struct {
	parts [][]byte
	start int // In parts[0]: what is before was read.
	size  int
	small [1][]byte // Parts of most bodies.
}

// write appends a copy of p.
func (b *body) write(p []byte) {
	b.size += len(p)
	if len(b.parts) == 0 && len(p) <= smallBody {
		b.parts = append(b.small[:0], append([]byte(nil), p...))
		return
	}
	for len(p) > 0 {
		last := len(b.parts) - 1
		if last < 0 || cap(b.parts[last]) != chunkSize || len(b.parts[last]) == chunkSize {
			b.parts = append(b.parts, chunks.Get().(*[chunkSize]byte)[:0])
			last++
		}
		part := b.parts[last]
		n := copy(part[len(part):chunkSize], p)
		b.parts[last] = part[:len(part)+n]
		p = p[n:]
	}
}

// read moves what fits into p.
func (b *body) read(p []byte) int {
	read := 0
	for read < len(p) && b.size > 0 {
		n := copy(p[read:], b.parts[0][b.start:])
		read, b.start, b.size = read+n, b.start+n, b.size-n
		if b.start == len(b.parts[0]) {
			b.drop()
		}
	}
	return read
}

// drop lets go of the first part.
func (b *body) drop() {
	if cap(b.parts[0]) == chunkSize {
		chunks.Put((*[chunkSize]byte)(b.parts[0][:chunkSize]))
	}
	b.parts[0] = nil
	b.parts, b.start = b.parts[1:], 0
	if len(b.parts) == 0 {
		b.parts = nil
	}
}

// discard lets go of everything.
func (b *body) discard() {
	for len(b.parts) > 0 {
		b.drop()
	}
	b.size = 0
}
