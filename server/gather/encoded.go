package gather

import (
	"context"
	"encoding/binary"

	"connectrpc.com/connect/v2"

	"github.com/example/userd/server/lane"
)

// Encoder encodes messages of which the users are encoded already.
type Encoder struct {
	// Size is what a message needs at most, in bytes, or 0 for one that Append does not take.
	Size func(msg any) int
	// Append appends a message as the codec of a name has it, and returns false where it
	// cannot.
	Append func(b []byte, codec string, msg any) ([]byte, bool)
}

// SendEncoded is an interceptor that appends such messages to what their stream gathers.
// On their way through Connect each is copied three times, and takes the lock of the stream
// as often. The first of a stream takes that way all the same, since the header goes with it,
// and so do those that are to be compressed.
func (e Encoder) SendEncoded(next connect.ServerFunc) connect.ServerFunc {
	return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
		if spec.StreamType&connect.StreamTypeServer == 0 {
			return next(ctx, spec, stream)
		}
		w, gathers := ctx.Value(streamKey{}).(*streamWriter)
		call, _ := connect.CallInfoForServerContext(ctx)
		if !gathers || call.ResponseEncoding != connect.CompressionNameIdentity {
			return next(ctx, spec, stream)
		}
		return next(ctx, spec, &encodedStream{ServerStream: stream, encoder: e, writer: w, call: call})
	}
}

// encodedStream is a stream whose encoded messages need not pass Connect.
type encodedStream struct {
	connect.ServerStream
	encoder Encoder
	writer  *streamWriter
	call    *connect.CallInfo
}

func (s *encodedStream) Send(msg any) error {
	if most := s.encoder.Size(msg); most > 0 {
		if size := s.writer.appendMessage(most, func(b []byte) ([]byte, bool) { return s.encoder.Append(b, s.call.Codec, msg) }); size >= 0 {
			s.call.SendStats = connect.MessageStats{Size: size}
			return nil
		}
	}
	return s.ServerStream.Send(msg)
}

// appendMessage appends a message of at most so many bytes, and sees to it that it is sent
// soon. It returns its size, or -1 where it has to be written, which also tells why nothing
// can be sent any more.
func (w *streamWriter) appendMessage(most int, appendTo func([]byte) ([]byte, bool)) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.started || !w.makeRoom(lane.EnvelopeSize+most) {
		return -1
	}
	begin := len(w.gathered)
	b, ok := appendTo(w.gathered[:begin+lane.EnvelopeSize])
	if !ok || len(b) > cap(w.gathered) {
		return -1
	}
	size := len(b) - begin - lane.EnvelopeSize
	b[begin] = 0
	binary.BigEndian.PutUint32(b[begin+1:], uint32(size))
	w.gathered = b
	w.sendSoon()
	return size
}

// makeRoom sees to it that so many bytes can be gathered, at the beginning of a message. It
// returns false where they cannot. w.mu is held.
func (w *streamWriter) makeRoom(size int) bool {
	for w.err == nil && !w.late {
		switch {
		case w.passing: // A second buffer is of no use to a caller that does not read.
			w.passed.Wait()
		case w.gathered == nil:
			w.gathered = w.buffer()
		case len(w.gathered)+size <= cap(w.gathered):
			return true
		case w.whole == 0:
			return false
		default:
			w.send()
		}
	}
	return false
}
