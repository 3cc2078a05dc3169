package lane

import (
	"context"
	"crypto/tls"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/net/http2/hpack"

	"github.com/example/userd/server/h2"
)

// Route implements [h2.Direct]. Targets of Connect GET are hardly ever the same twice, but
// what comes with them is: it is then that of like.
func (l *Lane) Route(ctx context.Context, head *h2.Head, like h2.Route) h2.Route {
	r := &route{lane: l, ctx: ctx, tls: head.TLS}
	last, _ := like.(*route)
	if !r.fill(head, last) || !r.permitted() {
		return nil
	}
	return r
}

// route makes calls of streams with the same header.
type route struct {
	lane    *Lane
	profile *profile
	message []byte          // Of a GET.
	ctx     context.Context // Of the connection.
	tls     *tls.ConnectionState
	permit  Permit // Nil until one is needed.
}

// fill says what the header of a stream says, which is that of last, if there is one, but for
// method and path. It returns false for what the lane does not take.
func (r *route) fill(head *h2.Head, last *route) bool {
	path, query, _ := strings.Cut(head.Path, "?")
	if last != nil {
		if message, ok := last.profile.messageLike(head.Method, path, query); ok {
			r.profile, r.message, r.permit = last.profile, message, last.permit
			return true
		}
	}
	p := new(profile)
	switch {
	case last != nil:
		if !p.fill(r.lane, head.Method, path, query, head.Authority, last.profile.header) {
			return false
		}
		p.request = last.profile.request
	case r.lane.AllowsHost != nil && !r.lane.AllowsHost(r.ctx, head.Authority):
		return false
	default:
		h, ok := headerOf(head.Fields)
		if !ok || !p.fill(r.lane, head.Method, path, query, head.Authority, h) {
			return false
		}
		p.share()
	}
	r.profile, r.message = p, p.message
	return true
}

// permitted reports whether the calls are let in. That of before holds while it is valid.
// The goroutine that reads the connection is the only one that asks.
func (r *route) permitted() bool {
	if r.lane.Authorize == nil || r.permit != nil && r.permit.Valid() {
		return true
	}
	r.permit = r.lane.Authorize(r.ctx, r.profile.spec.Procedure, r.profile.header["Authorization"], r.tls)
	return r.permit != nil
}

// Open implements [h2.Route].
func (r *route) Open(remote string, body []byte) h2.Call {
	if r.profile.get {
		if len(body) > 0 {
			return nil
		}
		body = r.message
	}
	if !r.permitted() {
		return nil
	}
	s := streamCalls.Get().(*streamCall)
	s.permitted.permit = r.permit
	if !s.prepare(r.ctx, r.lane, r.profile, remote, body) {
		return nil
	}
	return s
}

// streamCalls has calls that have ended. A call is the largest part of what the read of a user
// who is at hand takes of the memory.
var streamCalls = sync.Pool{New: func() any { return new(streamCall) }}

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
	out   h2.Answer
	ready bool // It waits for nothing.
}

// Ready implements [h2.Call].
func (s *streamCall) Ready(ctx context.Context) bool {
	s.ready = s.call.Ready(ctx)
	return s.ready
}

// Release implements [h2.Call]. A call that was ready is used again: nobody else has seen it, as
// a goroutine might that goes on after a call for which it was begun.
func (s *streamCall) Release() {
	s.call.Release()
	if s.ready {
		more := s.out.Header.More
		clear(more)
		*s = streamCall{call: call{kept: s.keep()}, out: h2.Answer{Header: h2.Fields{More: more[:0]}}}
		streamCalls.Put(s)
	}
}

// Serve answers the call.
func (s *streamCall) Serve(ctx context.Context) *h2.Answer {
	s.serve(ctx)
	s.translate()
	return &s.out
}

// Wait implements [h2.Call].
func (s *streamCall) Wait(cut func()) *h2.Answer {
	if !s.await(waitingBytes, cut) {
		return nil
	}
	s.out = h2.Answer{}
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
	if n := len(a.header); n > 0 || !a.head.native {
		out.Header.Grow(n + 2) // And the two below.
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
