package load

import (
	"encoding/binary"
	"fmt"
	"io"

	"golang.org/x/net/http2"
)

// frame is one HTTP/2 frame. Its payload is valid until the next read.
type frame struct {
	kind    http2.FrameType
	flags   http2.Flags
	stream  uint32
	payload []byte
}

// unpadded is the payload of a DATA or HEADERS frame without its padding.
func (f frame) unpadded() ([]byte, error) {
	if !f.flags.Has(http2.FlagDataPadded) {
		return f.payload, nil
	}
	if len(f.payload) == 0 || int(f.payload[0]) >= len(f.payload) {
		return nil, io.ErrUnexpectedEOF
	}
	return f.payload[1 : len(f.payload)-int(f.payload[0])], nil
}

// frameReader reads as many frames with one system call as have arrived. http2's
// Framer needs two reads of a bufio.Reader and an allocation for a frame, which
// shows at 100,000 responses a second.
type frameReader struct {
	from        io.Reader
	buffer      [4 * (frameHeader + maxFrame)]byte
	start, stop int // What is read and not yet taken.
}

// ready reports whether read returns without a system call.
func (r *frameReader) ready() bool {
	have := r.stop - r.start
	return have >= frameHeader && have >= frameHeader+r.length()
}

// length is the length of the payload of the frame at hand.
func (r *frameReader) length() int {
	b := r.buffer[r.start:]
	return int(b[0])<<16 | int(b[1])<<8 | int(b[2])
}

func (r *frameReader) read() (frame, error) {
	for !r.ready() {
		if r.stop-r.start >= frameHeader && r.length() > maxFrame {
			return frame{}, fmt.Errorf("a frame of %d bytes", r.length())
		}
		if err := r.fill(); err != nil {
			return frame{}, err
		}
	}
	b := r.buffer[r.start:]
	end := frameHeader + r.length()
	r.start += end
	return frame{
		kind: http2.FrameType(b[3]), flags: http2.Flags(b[4]),
		stream:  binary.BigEndian.Uint32(b[5:]) &^ (1 << 31),
		payload: b[frameHeader:end:end],
	}, nil
}

func (r *frameReader) fill() error {
	copy(r.buffer[:], r.buffer[r.start:r.stop])
	r.start, r.stop = 0, r.stop-r.start
	n, err := r.from.Read(r.buffer[r.stop:])
	r.stop += n
	if n > 0 {
		return nil
	}
	return err
}
