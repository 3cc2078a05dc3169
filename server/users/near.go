package users

import (
	"context"
	"log/slog"

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

// nearUser is what a nearReader has answered before a call of GetUser began.
type nearUser struct {
	request userv1.GetUserRequest
	id      string
	entry   cache.Entry
}

// CopyTo implements lane.Request.
func (u *nearUser) CopyTo(msg any) bool {
	request, ok := msg.(*userv1.GetUserRequest)
	if ok {
		request.Reset()
		request.UserId, request.MinVersion = u.request.GetUserId(), u.request.GetMinVersion()
	}
	return ok
}

type nearUserKey struct{}

// AtHand looks up the user of a call of GetUser before it begins. It returns false
// for calls that may have to wait for anything: others, and those whose user is not at
// hand. Lines of a log may have to wait, too, so there must be none.
func (u *Service) AtHand(ctx context.Context, call *connect.CallInfo, message []byte) (context.Context, *nearUser, bool) {
	if u.near == nil || call.Spec.Procedure != userv1connect.UserServiceGetUserProcedure ||
		noCache(call) || u.Logger.Enabled(ctx, slog.LevelDebug) {
		return nil, nil, false
	}
	user := new(nearUser)
	if !wire.DecodeKnown(call.Codec, message, &user.request) {
		return nil, nil, false
	}
	var ok bool
	user.id = wire.CanonicalID(user.request.GetUserId())
	if user.entry, ok = u.near.Cached(user.id, cache.Read{MinVersion: user.request.GetMinVersion()}); !ok {
		return nil, nil, false
	}
	return context.WithValue(ctx, nearUserKey{}, user), user, true
}

// nearEntry is the entry that was found for a read before its call began, if it was.
func nearEntry(ctx context.Context, id string, minVersion int64) (cache.Entry, bool) {
	user, ok := ctx.Value(nearUserKey{}).(*nearUser)
	if !ok || user.id != id || user.request.GetMinVersion() != minVersion {
		return cache.Entry{}, false
	}
	return user.entry, true
}
