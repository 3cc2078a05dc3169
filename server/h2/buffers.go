package h2

import "sync"

// inSizes are the sizes of read buffers, in bytes: for connections that say next to
// nothing, for those that say little, as most do, for frames as most peers send them, and
// for those of peers that were allowed longer ones, since they filled all they were allowed.
var inSizes = [...]int{1 << 10, 4 << 10, frameHeaderSize + maxFrameSize, frameHeaderSize + maxLongFrame}

var inBuffers [len(inSizes)]sync.Pool

// inClass is the smallest size that holds n bytes.
func inClass(n int) int {
	class := 0
	for inSizes[class] < n {
		class++
	}
	return class
}

func getIn(n int) []byte {
	class := inClass(n)
	if b, ok := inBuffers[class].Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, inSizes[class])
}

func putIn(b []byte) { inBuffers[inClass(len(b))].Put(&b) }

// minOut is the size of a new write buffer, in bytes. They grow.
const minOut = 4 << 10

// outBuffers are for conn.out. A connection that has nothing to write has none.
var outBuffers sync.Pool

// startOut makes room in conn.out where there is none. c.mu is held.
func (c *conn) startOut() {
	if c.out != nil {
		return
	}
	if b, ok := outBuffers.Get().(*[]byte); ok {
		c.out = *b
	} else {
		c.out = make([]byte, 0, minOut)
	}
}

// putOut lets go of what was written.
func putOut(b []byte) {
	if cap(b) >= minOut && cap(b) <= 2*outLimit {
		b = b[:0]
		outBuffers.Put(&b)
	}
}
