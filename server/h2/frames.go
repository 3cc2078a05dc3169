package h2

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/net/http2"
)

// Sizes of RFC 9113 that every connection starts with, in bytes.
const (
	frameHeaderSize   = 9
	maxFrameSize      = 16 << 10
	maxLongFrame      = 64 << 10 // What peers that send much may send instead.
	initialWindow     = 1<<16 - 1
	maxWindow         = 1<<31 - 1
	maxStreamID       = 1<<31 - 1
	priorityFieldSize = 5
	settingSize       = 6
)

// frameError is what a peer did wrong: to one stream, which is reset, or to the
// connection, which is closed.
type frameError struct {
	stream uint32 // 0 is the connection.
	code   http2.ErrCode
	reason string
}

func (e *frameError) Error() string {
	return fmt.Sprintf("http2: stream %d, %v: %s", e.stream, e.code, e.reason)
}

func connectionError(code http2.ErrCode, reason string) error {
	return &frameError{code: code, reason: reason}
}

func streamError(stream uint32, code http2.ErrCode, reason string) error {
	return &frameError{stream: stream, code: code, reason: reason}
}

type frameHeader struct {
	length int
	kind   http2.FrameType
	flags  http2.Flags
	stream uint32
}

// parseFrameHeader reads the header at the start of b, which has at least
// frameHeaderSize bytes.
func parseFrameHeader(b []byte) frameHeader {
	return frameHeader{
		length: int(b[0])<<16 | int(b[1])<<8 | int(b[2]),
		kind:   http2.FrameType(b[3]),
		flags:  http2.Flags(b[4]),
		stream: binary.BigEndian.Uint32(b[5:]) & maxStreamID,
	}
}

// unpad takes the padding off a DATA or HEADERS frame.
func unpad(h frameHeader, payload []byte) ([]byte, error) {
	if !h.flags.Has(http2.FlagDataPadded) {
		return payload, nil
	}
	if len(payload) == 0 {
		return nil, connectionError(http2.ErrCodeFrameSize, "padded frame without a pad length")
	}
	padding := int(payload[0])
	if padding >= len(payload) {
		return nil, connectionError(http2.ErrCodeProtocol, "padding is longer than the frame")
	}
	return payload[1 : len(payload)-padding], nil
}

func appendFrameHeader(b []byte, length int, kind http2.FrameType, flags http2.Flags, stream uint32) []byte {
	return append(b, byte(length>>16), byte(length>>8), byte(length), byte(kind), byte(flags),
		byte(stream>>24), byte(stream>>16), byte(stream>>8), byte(stream))
}

func appendFrame(b []byte, kind http2.FrameType, flags http2.Flags, stream uint32, payload []byte) []byte {
	return append(appendFrameHeader(b, len(payload), kind, flags, stream), payload...)
}

func appendSettings(b []byte, settings ...http2.Setting) []byte {
	b = appendFrameHeader(b, settingSize*len(settings), http2.FrameSettings, 0, 0)
	for _, s := range settings {
		b = binary.BigEndian.AppendUint16(b, uint16(s.ID))
		b = binary.BigEndian.AppendUint32(b, s.Val)
	}
	return b
}

func appendGoAway(b []byte, last uint32, code http2.ErrCode, reason string) []byte {
	b = appendFrameHeader(b, 8+len(reason), http2.FrameGoAway, 0, 0)
	b = binary.BigEndian.AppendUint32(b, last)
	b = binary.BigEndian.AppendUint32(b, uint32(code))
	return append(b, reason...)
}

// appendNumber appends a frame whose payload is a number: RST_STREAM or WINDOW_UPDATE.
func appendNumber(b []byte, kind http2.FrameType, stream, number uint32) []byte {
	return binary.BigEndian.AppendUint32(appendFrameHeader(b, 4, kind, 0, stream), number)
}

// appendHeaderFrames appends a header block as a HEADERS frame and as many
// CONTINUATION frames as it needs.
func appendHeaderFrames(b []byte, stream uint32, block []byte, end bool) []byte {
	kind, flags := http2.FrameHeaders, endStream(end)
	for len(block) > maxFrameSize {
		b = appendFrame(b, kind, flags, stream, block[:maxFrameSize])
		block, kind, flags = block[maxFrameSize:], http2.FrameContinuation, 0
	}
	return appendFrame(b, kind, flags|http2.FlagHeadersEndHeaders, stream, block)
}

// endStream is the flags of DATA or HEADERS that may be the last frame of a stream.
func endStream(end bool) http2.Flags {
	if end {
		return http2.FlagDataEndStream
	}
	return 0
}
