package edge

import (
	"context"
	"errors"
	"io"
	"testing"

	"connectrpc.com/connect/v2"

	"github.com/example/userd/server/failure"
)

// errOfCall is an error that says nothing of credentials.
var errOfCall = errors.New("of the call")

// ending is a body of two bytes that ends with an error.
type ending struct {
	err  error
	read bool
}

func (e *ending) Read(p []byte) (int, error) {
	if e.read {
		return 0, e.err
	}
	e.read = true
	return copy(p, "ab"), nil
}

// The body of a stream whose credentials go ends with that, and no other one does.
func TestBodiesEndWithCredentials(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		body    error
		revoked int // Before this read, of two; 0 for never.
		want    error
		read    int
	}{
		"whole":               {io.EOF, 0, io.EOF, 2},
		"broken":              {errOfCall, 0, errOfCall, 2},
		"revoked before":      {io.EOF, 1, failure.ErrRevoked, 0},
		"revoked in between":  {nil, 2, failure.ErrRevoked, 2},
		"revoked while it is": {errOfCall, -2, failure.ErrRevoked, 2}, // By the deadline.
		"revoked at its end":  {io.EOF, -2, io.EOF, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			under := &ending{err: test.body}
			body := &revocableBody{Reader: under}
			read := 0
			for i := 1; i <= 2; i++ {
				if i == test.revoked {
					body.revoked.Store(true)
				}
				if i == -test.revoked {
					body.Reader = revokingReader{under, body}
				}
				n, err := body.Read(make([]byte, 10))
				if read += n; i == 2 && !errors.Is(err, test.want) || read != test.read {
					t.Errorf("after read %d: %d bytes and %v, want %d and %v at last", i, read, err, test.read, test.want)
				}
			}
			if body.ended.Load() != (test.want == io.EOF) {
				t.Errorf("that it has come whole is %v", body.ended.Load())
			}
		})
	}
}

// revokingReader is a body whose credentials go while it is read.
type revokingReader struct {
	io.Reader
	body *revocableBody
}

func (r revokingReader) Read(p []byte) (int, error) {
	r.body.revoked.Store(true)
	return r.Reader.Read(p)
}

// Streams say that they end with their credentials, where they do.
func TestStreamsTellOfCredentials(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		kind             connect.StreamType
		cause, err, want error
	}{
		"revoked":              {connect.StreamTypeServer, failure.ErrRevoked, context.Canceled, failure.ErrRevoked},
		"done before":          {connect.StreamTypeServer, failure.ErrRevoked, nil, nil},
		"cancelled":            {connect.StreamTypeServer, context.Canceled, context.Canceled, context.Canceled},
		"failed":               {connect.StreamTypeBidi, nil, errOfCall, errOfCall},
		"no stream, by chance": {connect.StreamTypeUnary, failure.ErrRevoked, errOfCall, errOfCall},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			if test.cause != nil {
				cancel(test.cause)
			}
			call := TellRevoked(func(context.Context, connect.Spec, connect.ServerStream) error { return test.err })
			if err := call(ctx, connect.Spec{StreamType: test.kind}, nil); !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
				t.Errorf("it ends with %v, want %v", err, test.want)
			}
		})
	}
}
