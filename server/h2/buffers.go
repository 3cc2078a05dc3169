package h2

import "sync"

// Sizes of read buffers, in bytes: for connections that say next to nothing, for those
// that say little, as most do, for frames as most peers send them, and for those of peers
// that were allowed longer ones, since they filled all they were allowed.
const (
	tinyIn   = 1 << 10
	smallIn  = 4 << 10
	mediumIn = frameHeaderSize + maxFrameSize
	longIn   = frameHeaderSize + maxLongFrame
)

// sizeOfIn is the smallest of them that holds n bytes.
func sizeOfIn(n int) int {
	switch {
	case n <= tinyIn:
		return tinyIn
	case n <= smallIn:
		return smallIn
	case n <= mediumIn:
		return mediumIn
	}
	return longIn
}

var inBuffers = map[int]*sync.Pool{
	tinyIn: newPool(tinyIn), smallIn: newPool(smallIn), mediumIn: newPool(mediumIn), longIn: newPool(longIn),
}

func newPool(size int) *sync.Pool {
	return &sync.Pool{New: func() any {
		b := make([]byte, size)
		return &b
	}}
}

func getIn(size int) []byte { return *inBuffers[size].Get().(*[]byte) }

func putIn(b []byte) { inBuffers[len(b)].Put(&b) }

// minOut is the size of a new write buffer, in bytes. They grow.
const minOut = 4 << 10

// outBuffers are for conn.out. A connection that has nothing to write has none.
var outBuffers = sync.Pool{New: func() any {
	b := make([]byte, 0, minOut)
	return &b
}}

// startOut makes room in conn.out where there is none. c.mu is held.
func (c *conn) startOut() {
	if c.out == nil {
		c.out = *outBuffers.Get().(*[]byte)
	}
}

// putOut lets go of what was written.
func putOut(b []byte) {
	if cap(b) >= minOut && cap(b) <= 2*outLimit {
		b = b[:0]
		outBuffers.Put(&b)
	}
}
