package edge

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/example/userd/server/failure"
	"github.com/example/userd/server/lane"
)

const (
	webText   = "application/grpc-web-text"
	webBinary = "application/grpc-web"
)

// TranslateWebText serves grpc-web-text, the base64 form of gRPC-Web that
// Google's grpc-web client uses by default, with a handler for the binary form.
func TranslateWebText(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		contentType := r.Header.Get("Content-Type")
		if !strings.HasPrefix(contentType, webText) {
			next.ServeHTTP(w, r)
			return
		}
		r = lane.WithBody(r, &webTextReader{src: r.Body})
		r.ContentLength = -1
		r.Header = r.Header.Clone()
		r.Header.Set("Content-Type", webBinary+strings.TrimPrefix(contentType, webText))
		text := &webTextWriter{ResponseWriter: w}
		next.ServeHTTP(text, r)
		text.Flush()
	})
}

// webTextReader decodes base64 whose padding may stand between any two groups: a
// body is a sequence of encoded chunks.
type webTextReader struct {
	src     io.Reader
	in      [4096]byte
	pending int // Encoded bytes at the start of in, fewer than a group.
	decoded []byte
	out     []byte // The part of decoded that is not read yet.
}

func (r *webTextReader) Read(p []byte) (int, error) {
	for len(r.out) == 0 {
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.out)
	r.out = r.out[n:]
	return n, nil
}

func (r *webTextReader) fill() error {
	n, err := r.src.Read(r.in[r.pending:])
	n += r.pending
	groups := n - n%4
	r.decoded = r.decoded[:0]
	for group := r.in[:groups]; len(group) > 0; {
		end := len(group)
		if padding := bytes.IndexByte(group, '='); padding >= 0 {
			end = padding - padding%4 + 4
		}
		var decodeErr error
		if r.decoded, decodeErr = base64.StdEncoding.AppendDecode(r.decoded, group[:end]); decodeErr != nil {
			return errors.Join(failure.ErrMalformedFrame, decodeErr)
		}
		group = group[end:]
	}
	r.out = r.decoded
	r.pending = copy(r.in[:], r.in[groups:n])
	if len(r.out) > 0 {
		return nil
	}
	if err == io.EOF && r.pending > 0 {
		return failure.ErrMalformedFrame
	}
	return err
}

// webTextWriter encodes what is written between two flushes as one chunk.
type webTextWriter struct {
	http.ResponseWriter
	wroteHeader bool
	buffered    bytes.Buffer
}

func (w *webTextWriter) WriteHeader(code int) {
	w.wroteHeader = true
	header := w.Header()
	if contentType := header.Get("Content-Type"); strings.HasPrefix(contentType, webBinary) {
		header.Set("Content-Type", webText+strings.TrimPrefix(contentType, webBinary))
	}
	header.Del("Content-Length")
	w.ResponseWriter.WriteHeader(code)
}

func (w *webTextWriter) Write(p []byte) (int, error) { return w.buffered.Write(p) }

// Flush implements http.Flusher.
func (w *webTextWriter) Flush() {
	_ = w.FlushError() // As http.Flusher has it: the next write tells.
}

// FlushError is Flush for http.ResponseController.
func (w *webTextWriter) FlushError() error {
	if w.buffered.Len() > 0 {
		if err := w.writeChunk(); err != nil {
			return err
		}
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

func (w *webTextWriter) writeChunk() error {
	if !w.wroteHeader {
		w.WriteHeader(http.StatusOK)
	}
	chunk := base64.StdEncoding.AppendEncode(nil, w.buffered.Bytes())
	w.buffered.Reset()
	_, err := w.ResponseWriter.Write(chunk)
	return err
}

// Unwrap lets http.ResponseController reach the connection.
func (w *webTextWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
