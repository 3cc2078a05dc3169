package load

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/http2/hpack"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
)

// grpcPrefix is the length of what stands before each message of a stream: a byte
// of flags and the length of the message.
const grpcPrefix = 5

// stream is one request and its response.
type stream struct {
	conn       *h2Conn
	id         uint32
	call       call
	wire       *Wire
	done       func(*stream, error) // Called once, at the end.
	message    func(m []byte) error // Takes the messages of a streaming response.
	body       []byte               // Request before it is sent, then the response.
	received   int                  // Bytes that the peer's window has not got back.
	sendWindow int64                // Room in the peer's window.
	stalled    bool                 // Takes nothing beyond the first window.
	messages   int                  // Messages received.
	status     string               // HTTP status.
	grpcStatus string
	grpcError  string
	details    string // Of the error: the trailer grpc-status-details-bin.
}

func (s *stream) reset() {
	*s = stream{body: s.body[:0]}
}

// header takes one field of the headers or the trailers.
func (s *stream) header(f hpack.HeaderField) {
	switch f.Name {
	case ":status":
		s.status = f.Value
	case "grpc-status":
		s.grpcStatus = f.Value
	case "grpc-message":
		s.grpcError = f.Value
	case "grpc-status-details-bin":
		s.details = f.Value
	}
}

// data takes a piece of the response.
func (s *stream) data(piece []byte) error {
	if s.wire == nil || !s.wire.isGRPC() {
		s.body = append(s.body, piece...)
		return nil
	}
	if len(s.body) == 0 {
		rest, err := s.takeMessages(piece)
		s.body = append(s.body, rest...)
		return err
	}
	s.body = append(s.body, piece...)
	rest, err := s.takeMessages(s.body)
	s.body = s.body[:copy(s.body, rest)]
	return err
}

// takeMessages checks the complete messages at the start of p and returns the rest.
func (s *stream) takeMessages(p []byte) ([]byte, error) {
	for len(p) >= grpcPrefix {
		size := int(binary.BigEndian.Uint32(p[1:]))
		if len(p)-grpcPrefix < size {
			break
		}
		if err := s.take(p[0], p[grpcPrefix:grpcPrefix+size]); err != nil {
			return nil, err
		}
		p = p[grpcPrefix+size:]
	}
	return p, nil
}

// webTrailer is the flag of the last message over gRPC-Web.
const webTrailer = 0x80

func (s *stream) take(flags byte, message []byte) error {
	if flags == webTrailer {
		s.trailer(message)
		return nil
	}
	if flags != 0 {
		return fmt.Errorf("a message with the flags %#x", flags)
	}
	s.messages++
	if s.message != nil {
		return s.message(message)
	}
	if s.messages > 1 {
		return errors.New("a second message in a unary response")
	}
	return s.call.op.Check(message, s.call.key)
}

// trailer takes the trailer of gRPC-Web, which is lines of text.
func (s *stream) trailer(text []byte) {
	for line := range bytes.Lines(text) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		s.header(hpack.HeaderField{Name: string(name), Value: string(bytes.TrimSpace(value))})
	}
}

// verdict says whether a response that has ended is a right one.
func (s *stream) verdict() error {
	switch {
	case s.status != "200":
		return fmt.Errorf("HTTP status %q: %.200s", s.status, s.body)
	case !s.wire.isGRPC():
		return s.call.op.Check(s.body, s.call.key)
	case s.grpcStatus != "0":
		text, _ := url.PathUnescape(s.grpcError)
		return &StatusError{Code: s.grpcStatus, Message: text, Details: s.details}
	case len(s.body) > 0:
		return errors.New("the response ends within a message")
	case s.message == nil && s.messages != 1:
		return errors.New("no message in a unary response")
	}
	return nil
}

// StatusError is a call that the server has answered with an error.
type StatusError struct {
	Code    string // As in the trailer grpc-status.
	Message string
	Details string // As in the trailer grpc-status-details-bin.
}

func (e *StatusError) Error() string { return fmt.Sprintf("grpc-status %q: %s", e.Code, e.Message) }

// RetryDelay is how long the server wants a caller to wait before its next call: what
// google.rpc.RetryInfo says, where an error has it.
func RetryDelay(err error) time.Duration {
	refusal := new(StatusError)
	if !errors.As(err, &refusal) || refusal.Details == "" {
		return 0
	}
	encoded, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(refusal.Details, "="))
	var status spb.Status
	if err != nil || proto.Unmarshal(encoded, &status) != nil {
		return 0
	}
	for _, detail := range status.GetDetails() {
		var retry errdetails.RetryInfo
		if detail.UnmarshalTo(&retry) == nil {
			return retry.GetRetryDelay().AsDuration()
		}
	}
	return 0
}
