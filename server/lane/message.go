package lane

import (
	"bytes"
	"encoding/binary"
	"io"
	"sync"

	"connectrpc.com/connect/v2"
)

// The envelope of messages, as gRPC, gRPC-Web and the streams of Connect have it: flags,
// and the length of the message in four bytes.
const (
	EnvelopeSize   = 5
	FlagCompressed = 0x01
	FlagEnd        = 0x02 // Connect: the message ends its stream.
	FlagTrailer    = 0x80 // gRPC-Web: the message is the trailer.
)

// unpackedBytes is the largest message, unpacked, that the lane takes, in bytes. What
// connecthttp unpacks is counted.
const unpackedBytes = 64 << 10

// keptBuffer is the largest buffer that is kept for other messages, in bytes.
const keptBuffer = 1 << 20

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func getBuffer() *bytes.Buffer { return buffers.Get().(*bytes.Buffer) }

func putBuffer(b *bytes.Buffer) {
	if b.Cap() <= keptBuffer {
		b.Reset()
		buffers.Put(b)
	}
}

// open takes the message out of a body. It returns false unless the body is one whole
// message in the framing of its protocol, within the limit.
func (l *Lane) open(p *profile, body []byte) (message []byte, compressed, ok bool) {
	if !p.format.enveloped {
		return body, p.received != connect.CompressionNameIdentity && len(body) > 0, l.within(len(body))
	}
	if len(body) < EnvelopeSize || body[0] > FlagCompressed || int(binary.BigEndian.Uint32(body[1:])) != len(body)-EnvelopeSize {
		return nil, false, false
	}
	message, compressed = body[EnvelopeSize:], body[0] == FlagCompressed
	if compressed && p.received == connect.CompressionNameIdentity {
		return nil, false, false
	}
	return message, compressed && len(message) > 0, l.within(len(message))
}

func (l *Lane) within(size int) bool { return l.ReadMaxBytes <= 0 || size <= l.ReadMaxBytes }

// unpack decompresses a message. It returns false for what is broken or large.
func (l *Lane) unpack(dst *bytes.Buffer, compression string, message []byte) bool {
	reader, err := l.compressors[compression].Decompress(bytes.NewReader(message))
	if err != nil {
		return false
	}
	defer reader.Close()
	_, err = dst.ReadFrom(io.LimitReader(reader, unpackedBytes+1))
	return err == nil && dst.Len() <= unpackedBytes && l.within(dst.Len())
}

// appendEnvelope appends a message in the framing of gRPC.
func appendEnvelope(dst *bytes.Buffer, flags byte, message []byte) {
	dst.Write(binary.BigEndian.AppendUint32(append(dst.AvailableBuffer(), flags), uint32(len(message))))
	dst.Write(message)
}

// pack compresses a message.
func pack(compressor connect.Compressor, dst, src *bytes.Buffer) error {
	writer, err := compressor.Compress(dst)
	if err != nil {
		return connect.Errorf(connect.CodeUnknown, "get compressor: %s", err).WithCause(err)
	}
	_, err = src.WriteTo(writer)
	if closeErr := writer.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return connect.Errorf(connect.CodeInternal, "compress: %s", err).WithCause(err)
	}
	return nil
}
