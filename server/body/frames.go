package body

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"

	"connectrpc.com/connect/v2"

	"github.com/example/userd/server/failure"
	"github.com/example/userd/server/lane"
)

// CheckFrames looks at the framing of bodies that consist of messages with a prefix, so
// that what is wrong with it is known where it arises. connecthttp has one code for that
// and for its own failures. A message that is longer than the limit of its path, where
// there is one, ends its request with failure.ErrMessageTooLarge before it is read.
func CheckFrames(limits map[string]int) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.ProtoMajor == 1 && r.ContentLength != 0 {
				r = lane.WithBody(r, chunkReader{r.Body})
			}
			if frames := newFrameReader(r); frames != nil {
				frames.limit = int64(limits[r.URL.Path])
				framed := *r // See lane.WithBody.
				framed.Body = framedBody{frames, r.Body}
				r = &framed
			}
			next.ServeHTTP(w, r)
		})
	}
}

// framedBody is a body of messages with a prefix, for those who ask about its frames.
type framedBody struct {
	*frameReader
	io.Closer
}

// frameReader is a body of messages with a prefix.
type frameReader struct {
	body       io.Reader
	compressed bool  // Messages may be.
	flags      byte  // That the protocol has besides.
	limit      int64 // Of a message, in bytes, or 0 for none.

	prefix   int   // Bytes of a prefix that have come.
	size     int64 // Of the message, as far as its prefix has come.
	left     int64 // Bytes of a message that have not come.
	messages int   // That have begun.
	err      error
}

// unfinished is the number of the message that has come in part, or 0.
func (f *frameReader) unfinished() int {
	if f == nil || f.prefix == 0 && f.left == 0 {
		return 0
	}
	return f.messages
}

// newFrameReader returns nil for a request whose body is not such a one.
func newFrameReader(r *http.Request) *frameReader {
	contentType := r.Header.Get("Content-Type")
	f := &frameReader{body: r.Body}
	header := "Grpc-Encoding"
	switch {
	case r.Method != http.MethodPost:
		return nil
	case strings.HasPrefix(contentType, lane.GRPCWeb):
		f.flags = lane.FlagTrailer
	case lane.IsNativeGRPC(contentType):
	case strings.HasPrefix(contentType, "application/connect+"):
		f.flags, header = lane.FlagEnd, "Connect-Content-Encoding"
	default:
		return nil
	}
	encoding := r.Header.Get(header)
	f.compressed = encoding != "" && encoding != connect.CompressionNameIdentity
	return f
}

// Read implements io.Reader. It returns what comes before a fault, and then the fault.
func (f *frameReader) Read(p []byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	n, err := f.body.Read(p)
	good, fault := f.check(p[:n])
	switch {
	case fault != nil:
		f.err = fault
		return good, fault
	case err == io.EOF && (f.prefix > 0 || f.left > 0):
		f.err = failure.ErrMalformedFrame
		return n, f.err
	}
	return n, err
}

// check follows the messages in p, and returns how much of it is before a fault.
func (f *frameReader) check(p []byte) (int, error) {
	for i := 0; i < len(p); {
		if skipped := min(f.left, int64(len(p)-i)); skipped > 0 {
			f.left -= skipped
			i += int(skipped)
			continue
		}
		if f.prefix == 0 {
			if err := f.checkFlags(p[i]); err != nil {
				return i, err
			}
			f.messages++
		} else {
			f.size = f.size<<8 | int64(p[i])
		}
		if f.limit > 0 && f.prefix == lane.EnvelopeSize-1 && f.size > f.limit {
			return i, failure.ErrMessageTooLarge
		}
		i++
		if f.prefix++; f.prefix == lane.EnvelopeSize {
			f.left, f.prefix, f.size = f.size, 0, 0
		}
	}
	return len(p), nil
}

func (f *frameReader) checkFlags(flags byte) error {
	switch {
	case flags&^(lane.FlagCompressed|f.flags) != 0:
		return failure.ErrMalformedFrame
	case flags&lane.FlagCompressed != 0 && !f.compressed:
		return failure.ErrCompressedFrame
	}
	return nil
}

// chunkReader is the body of a request over HTTP/1.1, whose own framing can be broken:
// the size of a chunk, or a length that is not kept.
type chunkReader struct{ body io.Reader }

func (c chunkReader) Read(p []byte) (int, error) {
	n, err := c.body.Read(p)
	switch {
	case err == nil, err == io.EOF, errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.Canceled):
		return n, err
	}
	if _, known := failure.Known(err); known {
		return n, err
	}
	return n, errors.Join(failure.ErrMalformedFrame, err)
}
