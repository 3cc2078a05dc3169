package h2

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"sync"

	"connectrpc.com/connect/v2"
)

const (
	envelopeSize   = 5
	flagCompressed = 0x1
	// keptBuffer is the largest buffer that is kept for other messages, in bytes.
	keptBuffer = 1 << 20
)

var callBuffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func getBuffer() *bytes.Buffer { return callBuffers.Get().(*bytes.Buffer) }

func putBuffer(b *bytes.Buffer) {
	if b.Cap() <= keptBuffer {
		b.Reset()
		callBuffers.Put(b)
	}
}

// Receive decodes the one message of the request.
func (l *call) Receive(msg any) error {
	if l.received {
		return io.EOF
	}
	l.received = true
	if err := l.receive(msg); err == io.EOF {
		return connect.NewError(connect.CodeUnimplemented, "unary request has zero messages")
	} else if err != nil {
		return err
	}
	if err := l.receive(msg); err == nil {
		return connect.NewError(connect.CodeUnimplemented, "unary request has multiple messages")
	} else if err != io.EOF {
		return err
	}
	return nil
}

// receive decodes the next message, or returns io.EOF if there is none.
func (l *call) receive(msg any) error {
	if _, err := io.ReadFull(&l.stream, l.prefix[:]); err == io.EOF {
		return io.EOF
	} else if err != nil {
		return l.readError(err, connect.CodeInternal, "protocol error: incomplete envelope")
	}
	size, limit := int64(binary.BigEndian.Uint32(l.prefix[1:])), int64(l.lane.ReadMaxBytes)
	if limit > 0 && size > limit {
		return connect.Errorf(connect.CodeResourceExhausted, "message size %d is larger than configured max %d", size, limit)
	}
	message := getBuffer()
	defer putBuffer(message)
	if err := l.readMessage(message, int(size)); err == io.EOF {
		return connect.Errorf(connect.CodeInternal, "protocol error: promised %d bytes in enveloped message, got %d bytes",
			size, message.Len()).WithCause(io.ErrUnexpectedEOF)
	} else if err != nil {
		return l.readError(err, connect.CodeUnknown, "read enveloped message")
	}
	return l.decode(l.prefix[0], message, msg)
}

// readMessage reads size bytes. It makes room for those that come, not for those
// that are promised.
func (l *call) readMessage(message *bytes.Buffer, size int) error {
	for message.Len() < size {
		n := min(size-message.Len(), 2*maxFrameSize)
		message.Grow(n)
		n, err := l.Read(message.AvailableBuffer()[:n])
		message.Write(message.AvailableBuffer()[:n])
		if err != nil {
			return err
		}
	}
	return nil
}

// decode decompresses and decodes a message.
func (l *call) decode(flags byte, message *bytes.Buffer, msg any) error {
	decompressor := l.lane.compressors[l.profile.received]
	compressed := flags&flagCompressed != 0
	if compressed && decompressor == nil {
		return connect.NewError(connect.CodeInternal, "protocol error: sent compressed message without compression support")
	}
	stats := connect.MessageStats{}
	if compressed && message.Len() > 0 {
		stats.CompressedSize = message.Len()
		unpacked := getBuffer()
		defer putBuffer(unpacked)
		if err := decompress(decompressor, unpacked, message, int64(l.lane.ReadMaxBytes)); err != nil {
			return err
		}
		message = unpacked
	}
	if flags&^flagCompressed != 0 {
		return l.invalidFlags(flags)
	}
	if stats.Size = message.Len(); stats.Size > 0 {
		if err := l.profile.format.codec.UnmarshalRead(l.ctx, message, msg); err != nil {
			return connect.Errorf(connect.CodeInvalidArgument, "unmarshal message: %s", err).WithCause(err)
		}
	}
	l.info.ReceiveStats = stats
	return nil
}

// invalidFlags is the error of a message with flags that gRPC does not have.
func (l *call) invalidFlags(flags byte) error {
	if extra, _ := io.Copy(io.Discard, &l.stream); extra > 0 {
		return connect.Errorf(connect.CodeInternal, "corrupt response: %d extra bytes after end of stream", extra)
	}
	return connect.Errorf(connect.CodeInternal, "protocol error: invalid envelope flags %d", flags)
}

func decompress(compressor connect.Compressor, dst, src *bytes.Buffer, limit int64) error {
	reader, err := compressor.Decompress(src)
	if err != nil {
		return connect.Errorf(connect.CodeInvalidArgument, "get decompressor: %s", err).WithCause(err)
	}
	defer reader.Close()
	var bounded io.Reader = reader
	if limit > 0 {
		bounded = io.LimitReader(reader, limit+1)
	}
	if n, err := dst.ReadFrom(bounded); err != nil {
		return connect.Errorf(connect.CodeInvalidArgument, "decompress: %s", err).WithCause(err)
	} else if limit > 0 && n > limit {
		return connect.Errorf(connect.CodeResourceExhausted, "message is larger than configured max %d", limit)
	}
	return nil
}

// readError is the error of a body that ends before its message does.
func (l *call) readError(err error, code connect.Code, what string) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(l.ctx.Err(), context.DeadlineExceeded):
		return connect.NewError(connect.CodeDeadlineExceeded, err.Error()).WithCause(err)
	case err == errStreamClosed, err == errClientGone, l.ctx.Err() != nil:
		return connect.NewError(connect.CodeCanceled, err.Error()).WithCause(err)
	}
	return connect.Errorf(code, what+": %s", err).WithCause(err)
}

// SendHeaders does nothing: the header of a unary response goes out with it.
func (l *call) SendHeaders() error { return nil }

// Send encodes the message of the response. It goes out when the handler returns.
func (l *call) Send(msg any) error {
	l.takeMetadata()
	if msg == nil {
		return nil
	}
	encoded := getBuffer()
	defer putBuffer(encoded)
	if err := l.profile.format.codec.MarshalWrite(l.ctx, encoded, msg); err != nil {
		return connect.Errorf(connect.CodeInternal, "marshal message: %s", err).WithCause(err)
	}
	compressor, flags, limit := l.lane.compressors[l.profile.sent], byte(0), l.lane.SendMaxBytes
	stats, what := connect.MessageStats{Size: encoded.Len()}, "message"
	if compressor != nil && encoded.Len() >= l.lane.CompressMinBytes {
		packed := getBuffer()
		defer putBuffer(packed)
		if err := compress(compressor, packed, encoded); err != nil {
			return err
		}
		encoded, flags, what = packed, flagCompressed, "compressed message"
		stats.CompressedSize = packed.Len()
	}
	if limit > 0 && encoded.Len() > limit {
		return connect.Errorf(connect.CodeResourceExhausted, "%s size %d exceeds sendMaxBytes %d", what, encoded.Len(), limit)
	}
	if l.answer == nil {
		l.answer = getBuffer()
	}
	prefix := append(l.answer.AvailableBuffer(), flags)
	l.answer.Write(binary.BigEndian.AppendUint32(prefix, uint32(encoded.Len())))
	l.answer.Write(encoded.Bytes())
	l.info.SendStats = stats
	return nil
}

func compress(compressor connect.Compressor, dst, src *bytes.Buffer) error {
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
