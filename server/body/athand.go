package body

import (
	"bufio"
	"context"
	"encoding/binary"

	"connectrpc.com/connect/v2"

	"github.com/example/userd/server/lane"
)

type bodyKey struct{}

// DecodeAtHand returns an interceptor that decodes the messages of streams of requests where
// they were read to, see AwaitMessages: Connect would copy each out first. decode does that
// with the codec of a name, if it knows the message. What it does not know, has not come
// whole, is compressed or wrong in any way is left to Connect. A stream that has a deadline ends
// with it, whatever comes.
func DecodeAtHand(decode func(codec string, data []byte, msg any) bool) connect.ServerInterceptor {
	return func(next connect.ServerFunc) connect.ServerFunc {
		return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
			if spec.StreamType&connect.StreamTypeClient == 0 {
				return next(ctx, spec, stream)
			}
			if body, ok := ctx.Value(bodyKey{}).(*patientBody); ok {
				defer body.endWith(ctx)()
				call, _ := connect.CallInfoForServerContext(ctx)
				stream = &streamAtHand{ServerStream: stream, body: body.buffered, decode: decode, call: call}
			}
			return next(ctx, spec, stream)
		}
	}
}

// streamAtHand is a stream of requests whose body Connect reads, too.
type streamAtHand struct {
	connect.ServerStream
	body   *bufio.Reader
	decode func(codec string, data []byte, msg any) bool
	call   *connect.CallInfo
}

func (s *streamAtHand) Receive(msg any) error {
	data, ok := messageAtHand(s.body)
	if !ok || !s.decode(s.call.Codec, data, msg) {
		return s.ServerStream.Receive(msg)
	}
	_, _ = s.body.Discard(lane.EnvelopeSize + len(data)) // It is buffered.
	s.call.ReceiveStats = connect.MessageStats{Size: len(data)}
	return nil
}

// messageAtHand is the message that a body goes on with, if it is there whole and as it is.
func messageAtHand(body *bufio.Reader) ([]byte, bool) {
	if body.Buffered() < lane.EnvelopeSize {
		return nil, false
	}
	prefix, _ := body.Peek(lane.EnvelopeSize) // It is buffered, and so is what follows.
	size := int64(binary.BigEndian.Uint32(prefix[1:]))
	if prefix[0] != 0 || int64(body.Buffered()) < lane.EnvelopeSize+size {
		return nil, false
	}
	message, _ := body.Peek(lane.EnvelopeSize + int(size))
	return message[lane.EnvelopeSize:], true
}
