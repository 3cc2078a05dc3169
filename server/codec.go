package server

import (
	"bytes"
	"context"
	"io"
	"regexp"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectproto"
	"google.golang.org/protobuf/proto"

	userv1 "github.com/example/userd/gen/user/v1"
)

// codecs are protobuf and JSON as Connect has them, but JSON is strict, and what
// cannot be decoded is told without its content.
func codecs() []connect.Codec {
	json := connectproto.NewJSONCodec()
	json.UnmarshalOptions.DiscardUnknown = false
	return []connect.Codec{
		codec{StableCodec: connectproto.NewBinaryCodec(), describe: describeProtoError},
		codec{StableCodec: json, describe: describeJSONError},
	}
}

type codec struct {
	connect.StableCodec
	describe func(error) *decodeError
}

func (c codec) MarshalWrite(ctx context.Context, dst io.Writer, msg any) error {
	response, ok := msg.(encodedResponse)
	if !ok {
		return c.StableCodec.MarshalWrite(ctx, dst, msg)
	}
	b := spare(dst, response.size())
	if c.IsBinary() {
		b = response.appendProto(b)
	} else if b, ok = response.appendJSON(b); !ok {
		return c.marshalDecoded(ctx, dst, response)
	}
	_, err := dst.Write(b)
	return err
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
func (c codec) marshalDecoded(ctx context.Context, dst io.Writer, response encodedResponse) error {
	message := response.message()
	if err := proto.Unmarshal(response.appendProto(nil), message); err != nil {
		return err
	}
	return c.StableCodec.MarshalWrite(ctx, dst, message)
}

func (c codec) UnmarshalRead(ctx context.Context, src io.Reader, msg any) error {
	body, buffered := src.(*bytes.Buffer)
	message, ok := msg.(proto.Message)
	var err error
	switch {
	case buffered && c.IsBinary() && decodeProto(body.Bytes(), msg):
	case buffered && ok && c.IsBinary(): // It need not be copied.
		err = proto.Unmarshal(body.Bytes(), message)
	case buffered && decodeJSON(body.Bytes(), msg):
	default:
		err = c.StableCodec.UnmarshalRead(ctx, src, msg)
	}
	if err != nil {
		return c.describe(err)
	}
	return nil
}

// What the protobuf runtime says of a field that it cannot decode. Its texts hold
// values, and the names of unknown fields are the caller's too, so only names are
// taken from them that look like one.
var (
	unknownJSONField = regexp.MustCompile(jsonErrorAt + `unknown field "(?:(` + fieldName + `)")?`)
	invalidJSONField = regexp.MustCompile(jsonErrorAt + `invalid value for ([a-z0-9]{1,10}) field (` + fieldName + `): `)
	syntaxError      = regexp.MustCompile(`\(line (\d+:\d+)\)`)
	invalidUTF8Field = regexp.MustCompile(`field \S*?([a-z0-9_]{1,100}) contains invalid UTF-8`)
)

const (
	jsonErrorAt = `^proto:[ \x{a0}]\(line \d+:\d+\): ` // The space varies.
	fieldName   = `[A-Za-z_][A-Za-z0-9_]{0,99}`
)

func describeJSONError(cause error) *decodeError {
	text := cause.Error()
	if match := unknownJSONField.FindStringSubmatch(text); match != nil {
		return undecodable(userv1.Reason_REASON_UNKNOWN_FIELD, match[1], "there is no such field", cause)
	}
	const reason = userv1.Reason_REASON_MALFORMED_REQUEST
	if match := invalidJSONField.FindStringSubmatch(text); match != nil {
		return undecodable(reason, match[2], "must be a "+match[1], cause)
	}
	if match := syntaxError.FindStringSubmatch(text); match != nil {
		return undecodable(reason, "", "the request is not valid JSON for this method, at line and column "+match[1], cause)
	}
	return undecodable(reason, "", "the request is not valid JSON", cause)
}

func describeProtoError(cause error) *decodeError {
	const reason = userv1.Reason_REASON_MALFORMED_REQUEST
	if match := invalidUTF8Field.FindStringSubmatch(cause.Error()); match != nil {
		return undecodable(reason, match[1], "must be valid UTF-8", cause)
	}
	return undecodable(reason, "", "the request is not a valid protobuf message of this method", cause)
}

func undecodable(reason userv1.Reason, field, problem string, cause error) *decodeError {
	if field != "" {
		problem = field + ": " + problem
	}
	return &decodeError{status: status{connect.CodeInvalidArgument, reason, problem}, field: field, cause: cause}
}
