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
	if b := take(&inBuffers[class]); b != nil {
		return b
	}
	return make([]byte, inSizes[class])
}

func putIn(b []byte) { put(&inBuffers[inClass(len(b))], b) }

// boxes are for what a pool of buffers has: a slice in an interface would be allocated each time.
var boxes = sync.Pool{New: func() any { return new([]byte) }}

// take is a buffer of a pool, or nil.
func take(pool *sync.Pool) []byte {
	box, ok := pool.Get().(*[]byte)
	if !ok {
		return nil
	}
	b := *box
	*box = nil
	boxes.Put(box)
	return b
}

func put(pool *sync.Pool, b []byte) {
	box := boxes.Get().(*[]byte)
	*box = b
	pool.Put(box)
}

// minOut is the size of a new write buffer, in bytes. They grow.
const minOut = 4 << 10

// outBuffers are for conn.out. A connection that has nothing to write has none.
var outBuffers sync.Pool

// startOut makes room in conn.out where there is none. c.mu is held.
func (c *conn) startOut() {
	if c.out != nil {
		return
	}
	if c.out = take(&outBuffers); c.out == nil {
		c.out = make([]byte, 0, minOut)
	}
}

// putOut lets go of what was written.
func putOut(b []byte) {
	if cap(b) >= minOut && cap(b) <= 2*outLimit {
		put(&outBuffers, b[:0])
	}
}
