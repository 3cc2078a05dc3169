package h2

import "sync"

// chunk is a piece of a body.
type chunk [16 << 10]byte

var chunks = sync.Pool{New: func() any { return new(chunk) }}

// smallChunk is the beginning of a body as long as no more has come. It may be all that a peer
// ever sends, on each of many streams.
type smallChunk [512]byte

var smallChunks = sync.Pool{New: func() any { return new(smallChunk) }}

// body is what of a request's body was received and not read yet.
type body struct {
	small  *smallChunk // In the place of chunks.
	chunks []*chunk
	start  int // In the first chunk: what is before was read.
	size   int
	first  [1]*chunk // All that most bodies need.
}

// write appends a copy of p.
func (b *body) write(p []byte) {
	if len(b.chunks) == 0 && b.start+b.size+len(p) <= len(smallChunk{}) {
		if b.small == nil {
			b.small = smallChunks.Get().(*smallChunk)
		}
		b.size += copy(b.small[b.start+b.size:], p)
		return
	}
	if b.chunks == nil {
		b.chunks = b.first[:0]
	}
	if b.small != nil {
		b.grow()
	}
	for len(p) > 0 {
		end := b.start + b.size
		if end == len(b.chunks)*len(chunk{}) {
			b.chunks = append(b.chunks, chunks.Get().(*chunk))
		}
		n := copy(b.chunks[len(b.chunks)-1][end%len(chunk{}):], p)
		b.size += n
		p = p[n:]
	}
}

// grow makes a chunk of a small one.
func (b *body) grow() {
	large := chunks.Get().(*chunk)
	copy(large[:], b.small[:])
	b.chunks = append(b.chunks, large)
	smallChunks.Put(b.small)
	b.small = nil
}

// read moves what fits into p.
func (b *body) read(p []byte) int {
	read := 0
	for read < len(p) && b.size > 0 {
		n := copy(p[read:], b.head())
		read, b.start, b.size = read+n, b.start+n, b.size-n
		if b.size == 0 || b.start == len(chunk{}) {
			b.drop()
		}
	}
	return read
}

// head is what the first chunk has: all, if it fits and none of it was read.
func (b *body) head() []byte {
	if b.size == 0 {
		return nil
	}
	if b.small != nil {
		return b.small[b.start : b.start+b.size]
	}
	return b.chunks[0][b.start:min(b.start+b.size, len(chunk{}))]
}

// drop lets go of the first chunk.
func (b *body) drop() {
	if b.small != nil {
		smallChunks.Put(b.small)
		b.small, b.start = nil, 0
		return
	}
	chunks.Put(b.chunks[0])
	b.chunks[0] = nil
	b.chunks, b.start = b.chunks[1:], 0
	if len(b.chunks) == 0 {
		b.chunks = nil
	}
}

// discard lets go of everything.
func (b *body) discard() {
	for b.small != nil || len(b.chunks) > 0 {
		b.drop()
	}
	b.size = 0
}
