package h2

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectproto"
	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// takeMetadata takes header and trailer as the handler has set them until now.
func (l *call) takeMetadata() {
	if l.sent {
		return
	}
	l.sent = true
	l.header = appendMetadata(nil, l.info.ResponseHeader(), false)
	l.trailer = appendMetadata(nil, l.info.ResponseTrailer(), true)
}

// reserved are the fields that belong to the protocol. Handlers cannot set them.
var reserved = map[string]bool{
	"Content-Type": true, "Content-Length": true, "Content-Encoding": true, "Trailer": true, "Date": true,
	"Accept-Encoding": true, "Trailer-": true, "Connect-Content-Encoding": true, "Connect-Accept-Encoding": true,
	"Connect-Timeout-Ms": true, "Connect-Protocol-Version": true, "Grpc-Encoding": true,
	"Grpc-Accept-Encoding": true, "Grpc-Timeout": true, "Grpc-Status": true, "Grpc-Message": true,
	"Grpc-Status-Details-Bin": true,
}

func appendMetadata(fields []hpack.HeaderField, header *connect.Header, trailer bool) []hpack.HeaderField {
	if header.Len() == 0 {
		return fields
	}
	for key, values := range header.All() {
		if reserved[key] || trailer && !httpguts.ValidTrailerHeader(key) {
			continue
		}
		for _, value := range values {
			fields = appendField(fields, key, value)
		}
	}
	return fields
}

var statusOK = &fieldBlock{[]hpack.HeaderField{{Name: "grpc-status", Value: "0"}}}

// wireError is the error of a handler as its caller may see it: only errors of this
// process that were made for callers keep their text.
func wireError(err error) error {
	if err == nil {
		return nil
	}
	if authored, ok := errors.AsType[*connect.Error](err); ok && authored != nil {
		if authored.IsRemote() {
			return connect.NewError(connect.CodeInternal, "")
		}
		return authored
	}
	code := connect.CodeUnknown
	switch {
	case errors.Is(err, context.Canceled):
		code = connect.CodeCanceled
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		code = connect.CodeDeadlineExceeded
	}
	return connect.NewError(code, "")
}

// appendStatus appends the fields that tell how a call has ended. err is nil or of
// wireError.
func appendStatus(fields []hpack.HeaderField, err error) []hpack.HeaderField {
	failure := new(connect.Error)
	if !errors.As(err, &failure) {
		return append(fields, statusOK.fields...)
	}
	code, message := failure.Code(), failure.Message()
	details, packErr := packStatus(failure)
	if packErr != nil {
		code, message = connect.CodeInternal, fmt.Sprintf("marshal protobuf status: %v", packErr)
	}
	fields = appendField(fields, "grpc-status", strconv.Itoa(int(code)))
	fields = appendField(fields, "grpc-message", percentEncode(message))
	if len(details) > 0 {
		fields = appendField(fields, "grpc-status-details-bin", connect.EncodeBinaryHeader(details))
	}
	return fields
}

// packStatus encodes an error with details as a google.rpc.Status: code, message and
// details are its fields 1 to 3.
func packStatus(failure *connect.Error) ([]byte, error) {
	details := failure.Details()
	if len(details) == 0 {
		return nil, nil
	}
	b := protowire.AppendTag(nil, 1, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(failure.Code()))
	if failure.Message() != "" {
		b = protowire.AppendTag(b, 2, protowire.BytesType)
		b = protowire.AppendString(b, failure.Message())
	}
	for _, detail := range details {
		packed, err := proto.Marshal(connectproto.ErrorDetailToAny(detail))
		if err != nil {
			return nil, err
		}
		b = protowire.AppendTag(b, 3, protowire.BytesType)
		b = protowire.AppendBytes(b, packed)
	}
	return b, nil
}

// percentEncode escapes what grpc-message cannot carry: all but printable ASCII, and
// the percent sign.
func percentEncode(text string) string {
	b := make([]byte, 0, len(text))
	for i := range len(text) {
		if char := text[i]; char >= ' ' && char <= '~' && char != '%' {
			b = append(b, char)
		} else {
			b = fmt.Appendf(b, "%%%02X", char)
		}
	}
	return string(b)
}
