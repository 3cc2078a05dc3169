package h2

import (
	"encoding/binary"
	"fmt"
)

// Sizes of RFC 9113 that every connection starts with, in bytes.
const (
	preface           = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	frameHeaderSize   = 9
	maxFrameSize      = 16 << 10
	maxLongFrame      = 64 << 10 // What peers that send much may send instead.
	initialWindow     = 1<<16 - 1
	maxWindow         = 1<<31 - 1
	maxStreamID       = 1<<31 - 1
	priorityFieldSize = 5
	settingSize       = 6
	pingSize          = 8
)

type frameType uint8

const (
	frameData frameType = iota
	frameHeaders
	framePriority
	frameReset
	frameSettings
	framePushPromise
	framePing
	frameGoAway
	frameWindowUpdate
	frameContinuation
)

const (
	flagAck        = 0x1
	flagEndStream  = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

type setting uint16

const (
	settingHeaderTableSize setting = iota + 1
	settingEnablePush
	settingMaxConcurrentStreams
	settingInitialWindowSize
	settingMaxFrameSize
	settingMaxHeaderListSize
)

type errorCode uint32

const (
	codeNone errorCode = iota
	codeProtocol
	codeInternal
	codeFlowControl
	codeSettingsTimeout
	codeStreamClosed
	codeFrameSize
	codeRefusedStream
	codeCancel
	codeCompression
	codeConnect
	codeEnhanceYourCalm
	codeInadequateSecurity
)

// frameError is what a peer did wrong: to one stream, which is reset, or to the
// connection, which is closed.
type frameError struct {
	stream uint32 // 0 is the connection.
	code   errorCode
	reason string
}

func (e *frameError) Error() string {
	return fmt.Sprintf("http2: stream %d, code %d: %s", e.stream, e.code, e.reason)
}

func connectionError(code errorCode, reason string) error {
	return &frameError{code: code, reason: reason}
}

func streamError(stream uint32, code errorCode, reason string) error {
	return &frameError{stream: stream, code: code, reason: reason}
}

type frameHeader struct {
	length int
	kind   frameType
	flags  uint8
	stream uint32
}

func (h frameHeader) has(flag uint8) bool { return h.flags&flag != 0 }

// parseFrameHeader reads the header at the start of b, which has at least
// frameHeaderSize bytes.
func parseFrameHeader(b []byte) frameHeader {
	return frameHeader{
		length: int(b[0])<<16 | int(b[1])<<8 | int(b[2]),
		kind:   frameType(b[3]),
		flags:  b[4],
		stream: binary.BigEndian.Uint32(b[5:]) & maxStreamID,
	}
}

// unpad takes the padding off a DATA or HEADERS frame.
func unpad(h frameHeader, payload []byte) ([]byte, error) {
	if !h.has(flagPadded) {
		return payload, nil
	}
	if len(payload) == 0 {
		return nil, connectionError(codeFrameSize, "padded frame without a pad length")
	}
	padding := int(payload[0])
	if padding >= len(payload) {
		return nil, connectionError(codeProtocol, "padding is longer than the frame")
	}
	return payload[1 : len(payload)-padding], nil
}

func appendFrameHeader(b []byte, length int, kind frameType, flags uint8, stream uint32) []byte {
	return append(b, byte(length>>16), byte(length>>8), byte(length), byte(kind), flags,
		byte(stream>>24), byte(stream>>16), byte(stream>>8), byte(stream))
}

func appendSettings(b []byte, values map[setting]uint32) []byte {
	b = appendFrameHeader(b, settingSize*len(values), frameSettings, 0, 0)
	for id, value := range values {
		b = binary.BigEndian.AppendUint16(b, uint16(id))
		b = binary.BigEndian.AppendUint32(b, value)
	}
	return b
}

func appendSettingsAck(b []byte) []byte {
	return appendFrameHeader(b, 0, frameSettings, flagAck, 0)
}

func appendPing(b []byte, flags uint8, data [pingSize]byte) []byte {
	b = appendFrameHeader(b, pingSize, framePing, flags, 0)
	return append(b, data[:]...)
}

func appendGoAway(b []byte, last uint32, code errorCode, reason string) []byte {
	b = appendFrameHeader(b, 8+len(reason), frameGoAway, 0, 0)
	b = binary.BigEndian.AppendUint32(b, last)
	b = binary.BigEndian.AppendUint32(b, uint32(code))
	return append(b, reason...)
}

func appendReset(b []byte, stream uint32, code errorCode) []byte {
	b = appendFrameHeader(b, 4, frameReset, 0, stream)
	return binary.BigEndian.AppendUint32(b, uint32(code))
}

func appendWindowUpdate(b []byte, stream uint32, increment int) []byte {
	b = appendFrameHeader(b, 4, frameWindowUpdate, 0, stream)
	return binary.BigEndian.AppendUint32(b, uint32(increment))
}

// appendHeaderFrames appends a header block as a HEADERS frame and as many
// CONTINUATION frames as it needs.
func appendHeaderFrames(b []byte, stream uint32, block []byte, end bool) []byte {
	kind, flags := frameHeaders, uint8(0)
	if end {
		flags = flagEndStream
	}
	for len(block) > maxFrameSize {
		b = appendFrameHeader(b, maxFrameSize, kind, flags, stream)
		b = append(b, block[:maxFrameSize]...)
		block, kind, flags = block[maxFrameSize:], frameContinuation, 0
	}
	b = appendFrameHeader(b, len(block), kind, flags|flagEndHeaders, stream)
	return append(b, block...)
}
