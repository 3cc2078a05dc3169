package lane

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/net/http2/hpack"

	"github.com/example/userd/server/h2"
)

// Route implements [h2.Direct].
func (l *Lane) Route(ctx context.Context, head *h2.Head) h2.Route {
	if l.AllowsHost != nil && !l.AllowsHost(ctx, head.Authority) {
		return nil
	}
	header, ok := headerOf(head.Fields)
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

// headerOf is the header of a stream. It returns false for one with fields that middleware
// or net/http has to look at.
func headerOf(fields []hpack.HeaderField) (header, bool) {
	h := make(header, len(fields))
	for _, f := range fields {
		switch f.Name {
		case "cookie", "origin", "expect", "trailer", "host":
			return nil, false
		}
		name := h2.CanonicalName(f.Name)
		h[name] = append(h[name], f.Value)
	}
	return h, true
}

// streamCall is a call of a stream, and its answer as streams have it. It is an [h2.Call].
type streamCall struct {
	call
	out h2.Answer
}

// Serve answers the call.
func (s *streamCall) Serve(ctx context.Context) *h2.Answer {
	s.serve(ctx)
	s.translate()
	return &s.out
}

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
		to.Add(f.name, f.values...)
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
