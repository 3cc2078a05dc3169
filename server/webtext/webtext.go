// Package webtext serves grpc-web-text, which Google's grpc-web client uses by default, with
// handlers for the binary form of gRPC-Web.
package webtext

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

const text = lane.GRPCWeb + "-text"

// Translate serves grpc-web-text, the base64 form of gRPC-Web, with a handler for the binary
// form. What is none passes.
func Translate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		contentType := r.Header.Get("Content-Type")
		if !strings.HasPrefix(contentType, text) {
			next.ServeHTTP(w, r)
			return
		}
		r = lane.WithBody(r, &reader{src: r.Body})
		r.ContentLength = -1
		r.Header = r.Header.Clone()
		r.Header.Set("Content-Type", lane.GRPCWeb+strings.TrimPrefix(contentType, text))
		encoded := &writer{ResponseWriter: w}
		next.ServeHTTP(encoded, r)
		encoded.Flush()
	})
}

// reader decodes base64 whose padding may stand between any two groups: a
// body is a sequence of encoded chunks.
type reader struct {
	src     io.Reader
	in      [4096]byte
	pending int // Encoded bytes at the start of in, fewer than a group.
	decoded []byte
	out     []byte // The part of decoded that is not read yet.
}

func (r *reader) Read(p []byte) (int, error) {
	for len(r.out) == 0 {
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.out)
	r.out = r.out[n:]
	return n, nil
}

func (r *reader) fill() error {
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

// writer encodes what is written between two flushes as one chunk.
type writer struct {
	http.ResponseWriter
	wroteHeader bool
	buffered    bytes.Buffer
}

func (w *writer) WriteHeader(code int) {
	w.wroteHeader = true
	header := w.Header()
	if contentType := header.Get("Content-Type"); strings.HasPrefix(contentType, lane.GRPCWeb) {
		header.Set("Content-Type", text+strings.TrimPrefix(contentType, lane.GRPCWeb))
	}
	header.Del("Content-Length")
	w.ResponseWriter.WriteHeader(code)
}

func (w *writer) Write(p []byte) (int, error) { return w.buffered.Write(p) }

// Flush implements http.Flusher.
func (w *writer) Flush() {
	_ = w.FlushError() // As http.Flusher has it: the next write tells.
}

// FlushError is Flush for http.ResponseController.
func (w *writer) FlushError() error {
	if !w.wroteHeader { // It may be all of the response: an error can stand there.
		w.WriteHeader(http.StatusOK)
	}
	if w.buffered.Len() > 0 {
		if err := w.writeChunk(); err != nil {
			return err
		}
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

func (w *writer) writeChunk() error {
	chunk := base64.StdEncoding.AppendEncode(nil, w.buffered.Bytes())
	w.buffered.Reset()
	_, err := w.ResponseWriter.Write(chunk)
	return err
}

// Unwrap lets http.ResponseController reach the connection.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }
