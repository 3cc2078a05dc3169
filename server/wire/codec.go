package wire

import (
	"bytes"
	"context"
	"io"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectproto"
	"google.golang.org/protobuf/proto"

	"github.com/example/userd/server/packing"
	"github.com/example/userd/server/rules"
)

// MaxRowBytes is the largest row of a stream of them, unpacked. A valid one has 8 KiB at
// most, and half of this in JSON that escapes each of its characters.
const MaxRowBytes = 64 << 10

// Codecs are protobuf and JSON as Connect has them, but JSON is strict, each message of it
// is a line without spaces, and what cannot be decoded is told without its content.
func Codecs() []connect.Codec {
	json := connectproto.NewJSONCodec()
	json.UnmarshalOptions.DiscardUnknown = false
	return []connect.Codec{
		codec{connectproto.NewBinaryCodec()},
		codec{json},
	}
}

type codec struct{ connect.StableCodec }

func (c codec) MarshalWrite(ctx context.Context, dst io.Writer, msg any) error {
	response, ok := msg.(EncodedResponse)
	if !ok {
		return c.marshalMessage(ctx, dst, msg)
	}
	var size int
	if c.IsBinary() {
		size = response.protoSize()
	} else {
		size = response.size()
	}
	b, ok := AppendEncoded(spare(dst, size), c.Name(), response)
	if !ok {
		return c.marshalDecoded(ctx, dst, response)
	}
	_, err := dst.Write(b)
	return err
}

// EncodedSize is about the size of an [EncodedResponse], not less over protobuf. It is 0 for
// other messages.
func EncodedSize(msg any) int {
	if response, ok := msg.(EncodedResponse); ok {
		return response.size()
	}
	return 0
}

// AppendEncoded appends an [EncodedResponse] as the codec of a name has it. It returns false
// for other messages, and where it has to be decoded for that.
func AppendEncoded(b []byte, codec string, msg any) ([]byte, bool) {
	response, ok := msg.(EncodedResponse)
	switch {
	case !ok:
		return b, false
	case codec == connect.CodecNameProto:
		return response.appendProto(b), true
	}
	b, ok = response.appendJSON(b)
	return append(b, '\n'), ok
}

// marshalMessage is for messages of which no part is encoded. Their JSON looks as that of
// the others does: package protojson puts spaces into it, now here and now there, and those
// who read it in a shell have no line to read without an end.
func (c codec) marshalMessage(ctx context.Context, dst io.Writer, msg any) error {
	if c.IsBinary() {
		return c.StableCodec.MarshalWrite(ctx, dst, msg)
	}
	if err := c.MarshalWriteStable(ctx, dst, msg); err != nil {
		return err
	}
	_, err := io.WriteString(dst, "\n")
	return err
}

// DecodeKnown decodes a message with the codec of a name, if it is one of those that
// come most often.
func DecodeKnown(codec string, data []byte, message any) bool {
	if codec == connect.CodecNameJSON {
		return decodeJSON(data, message)
	}
	return decodeProto(data, message)
}

// spare returns an empty slice with room for about size bytes: that of dst itself
// where dst is a buffer, so that what is appended is not copied.
func spare(dst io.Writer, size int) []byte {
	if buffer, ok := dst.(*bytes.Buffer); ok {
		buffer.Grow(size)
		return buffer.AvailableBuffer()
	}
	return make([]byte, 0, size)
}

// marshalDecoded is for users that this version of the server would not encode so.
func (c codec) marshalDecoded(ctx context.Context, dst io.Writer, response EncodedResponse) error {
	message := response.message()
	if err := proto.Unmarshal(response.appendProto(nil), message); err != nil {
		return err
	}
	return c.marshalMessage(ctx, dst, message)
}

// byteOrderMark is what programs of Windows begin files with. RFC 8259 section 8.1 lets it be
// left out of account.
var byteOrderMark = []byte("\uFEFF")

func (c codec) UnmarshalRead(ctx context.Context, src io.Reader, msg any) error {
	message, ok := msg.(proto.Message)
	if !ok {
		return c.StableCodec.UnmarshalRead(ctx, src, msg)
	}
	body, buffered := src.(*bytes.Buffer)
	if !buffered {
		body = new(bytes.Buffer)
		if _, err := body.ReadFrom(src); err != nil {
			return err
		}
	}
	data := body.Bytes()
	if !c.IsBinary() {
		data = bytes.TrimPrefix(data, byteOrderMark)
	}
	if err := packing.Take(ctx, len(data)); err != nil {
		return err
	}
	if DecodeKnown(c.Name(), data, msg) {
		return nil
	}
	data = withoutLongLists(data, message.ProtoReflect().Descriptor(), c.IsBinary())
	var err error
	if c.IsBinary() { // It need not be copied.
		err = proto.Unmarshal(data, message)
	} else {
		err = c.StableCodec.UnmarshalRead(ctx, bytes.NewBuffer(data), msg)
	}
	if err != nil {
		return rules.Undecodable(data, message.ProtoReflect().Descriptor(), c.IsBinary(), err)
	}
	return nil
}
