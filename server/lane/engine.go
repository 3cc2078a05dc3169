package lane

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"connectrpc.com/connect/v2"
	"golang.org/x/net/http2/hpack"

	"github.com/example/userd/server/h2"
)

// Route implements [h2.Direct].
func (l *Lane) Route(ctx context.Context, head *h2.Head) h2.Route {
	if l.AllowsHost != nil && !l.AllowsHost(ctx, head.Authority) {
		return nil
	}
	header, ok := newStreamHeader(head.Fields)
	if !ok {
		return nil
	}
	path, query, _ := strings.Cut(head.Path, "?")
	r := &route{lane: l}
	if !r.profile.fill(l, head.Method, path, query, head.Authority, header) {
		return nil
	}
	return r
}

// route makes calls of streams with the same header.
type route struct {
	lane    *Lane
	profile profile
}

// Open implements [h2.Route].
func (r *route) Open(remote string, body []byte) h2.Call {
	if r.profile.get && len(body) > 0 {
		return nil
	}
	s := new(streamCall)
	if !s.prepare(r.lane, &r.profile, remote, body) {
		return nil
	}
	return s
}

// streamHeader is the header of a stream.
type streamHeader []field

// newStreamHeader returns false for a header with fields that middleware or net/http has
// to look at.
func newStreamHeader(fields []hpack.HeaderField) (streamHeader, bool) {
	h := make(streamHeader, 0, len(fields))
	for _, f := range fields {
		switch f.Name {
		case "cookie", "origin", "expect", "trailer", "host":
			return nil, false
		}
		h = h.add(h2.CanonicalName(f.Name), f.Value)
	}
	return h, true
}

func (h streamHeader) add(name, value string) streamHeader {
	for i := range h {
		if h[i].name == name {
			h[i].values = append(h[i].values, value)
			return h
		}
	}
	return append(h, field{name, []string{value}})
}

func (h streamHeader) get(name string) string {
	for i := range h {
		if h[i].name == name {
			return h[i].values[0]
		}
	}
	return ""
}

func (h streamHeader) copyTo(to *connect.Header) {
	for i := range h {
		to.SetValues(h[i].name, h[i].values[:len(h[i].values):len(h[i].values)])
	}
}

// streamCall is a call of a stream, and its answer as streams have it.
type streamCall struct {
	call
	out h2.Answer
}

// Ready implements [h2.Call].
func (s *streamCall) Ready(ctx context.Context) bool { return s.ready(ctx) }

// Serve implements [h2.Call].
func (s *streamCall) Serve(ctx context.Context) *h2.Answer {
	if s.ctx != nil {
		s.serveReady()
	} else {
		s.serveWaiting(ctx)
	}
	s.translate()
	return &s.out
}

// Release implements [h2.Call].
func (s *streamCall) Release() { s.answer.release() }

// sharedOK is the trailer of a call of gRPC that went well.
var sharedOK = h2.ShareFields("Grpc-Status", "0")

// translate makes an answer for the stream.
func (s *streamCall) translate() {
	a, out := &s.answer, &s.out
	if a.body != nil {
		out.Body = a.body.Bytes()
	}
	if a.status == http.StatusOK {
		out.Header.Shared = a.head.onStream
	} else {
		out.Header.SetStatus(strconv.Itoa(a.status))
		addFields(&out.Header, a.head.fields)
	}
	addFields(&out.Header, a.header)
	if !a.head.native {
		out.Dated = true
		if a.status != http.StatusNotModified {
			out.Header.Add("Content-Length", strconv.Itoa(len(out.Body)))
		}
	}
	if isOK(a.trailer) {
		out.Trailer.Shared = sharedOK
	} else {
		addFields(&out.Trailer, a.trailer)
	}
}

func addFields(to *h2.Fields, fields []field) {
	for _, f := range fields {
		for _, value := range f.values {
			to.Add(f.name, value)
		}
	}
}

// sharedHead is a head for streams.
func sharedHead(h *head) *h2.SharedFields {
	names := []string{":status", strconv.Itoa(http.StatusOK)}
	for _, f := range h.fields {
		names = append(names, f.name, f.values[0])
	}
	return h2.ShareFields(names...)
}
