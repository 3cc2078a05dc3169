package users

import (
	"context"
	"log/slog"
	"net/http"

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

// early is what was found out about a call of GetUser before it began. It is the context of the
// call, too, which tells of it.
type early struct {
	context.Context
	request userv1.GetUserRequest
	id      string
	entry   cache.Entry
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
	if ok {
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
	e := &early{Context: ctx}
	if !wire.DecodeKnown(call.Codec, message, &e.request) {
		return nil, nil, false
	}
	e.id = wire.CanonicalID(e.request.GetUserId())
	var ok bool
	if e.entry, ok = u.near.Cached(e.id, cache.Read{MinVersion: e.request.GetMinVersion()}); !ok {
		return nil, nil, false
	}
	return e, e, true
}

// lookup reads the user of a call of GetUser, if that was not done before it began.
func (u *Service) lookup(ctx context.Context, call *connect.CallInfo, id string, minVersion int64) (cache.Entry, error) {
	if e, ok := ctx.Value(earlyKey{}).(*early); ok && e.id == id && e.request.GetMinVersion() == minVersion {
		return e.entry, nil
	}
	return u.Reader.Lookup(ctx, id, cache.Read{MinVersion: minVersion, NoCache: noCache(call)})
}
