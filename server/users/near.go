package users

import (
	"context"
	"log/slog"
	"net/http"
	"sync"

	"connectrpc.com/connect/v2"

	"github.com/example/userd/cache"
	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/server/wire"
)

// nearReader is a Reader that can tell whether it has an answer at hand. Cached is
// Lookup, but waits for nothing: it returns false instead.
type nearReader interface {
	Cached(id string, read cache.Read) (cache.Entry, bool)
}

// early is what was found out about a call of GetUser before it began, and the messages of the
// call. It is the context of the call, too, which tells of it. It is used again when the call has
// ended: what a cached read leaves to the collector makes the tail of all others.
type early struct {
	context.Context
	request userv1.GetUserRequest
	id      string
	answer  wire.EncodedUser
}

// earlies has those of calls that have ended.
var earlies = sync.Pool{New: func() any { return new(early) }}

// Release implements lane.Request.
func (e *early) Release() {
	*e = early{}
	earlies.Put(e)
}

// Value implements [context.Context].
func (e *early) Value(key any) any {
	if key == (earlyKey{}) {
		return e
	}
	return e.Context.Value(key)
}

// CopyTo implements lane.Request.
func (e *early) CopyTo(msg any) bool {
	request, ok := msg.(*userv1.GetUserRequest)
	if ok && request != &e.request {
		request.Reset()
		request.UserId, request.MinVersion = e.request.GetUserId(), e.request.GetMinVersion()
	}
	return ok
}

type earlyKey struct{}

// AsksStore reports whether a call of a procedure that has this header is a lookup that no
// cache is asked for.
func (u *Service) AsksStore(procedure string, header http.Header) bool {
	return procedure == userv1connect.UserServiceGetUserProcedure && (u.near == nil || hasNoCache(header["Cache-Control"]))
}

// AtHand finds the user of a call of GetUser before it begins, if it is at hand. It returns
// false for calls that may have to wait for anything: all others. Lines of a log may have to
// wait, too, so there must be none.
func (u *Service) AtHand(ctx context.Context, call *connect.CallInfo, message []byte) (context.Context, *early, bool) {
	if call.Spec.Procedure != userv1connect.UserServiceGetUserProcedure || u.near == nil ||
		u.Logger.Enabled(ctx, slog.LevelDebug) || noCache(call) {
		return nil, nil, false
	}
	e := earlies.Get().(*early)
	if !e.fill(u.near, call.Codec, message) {
		e.Release()
		return nil, nil, false
	}
	e.Context = ctx
	return e, e, true
}

// fill decodes a message, and finds the user it asks for, if that waits for nothing.
func (e *early) fill(near nearReader, codec string, message []byte) (ok bool) {
	if !wire.DecodeKnown(codec, message, &e.request) {
		return false
	}
	e.id = wire.CanonicalID(e.request.GetUserId())
	e.answer.Entry, ok = near.Cached(e.id, cache.Read{MinVersion: e.request.GetMinVersion()})
	return ok
}

// earlyOf is what was found out about the call of a context before it began. Its id is empty
// where that is nothing.
func earlyOf(ctx context.Context) *early {
	if e, ok := ctx.Value(earlyKey{}).(*early); ok {
		return e
	}
	return new(early)
}
