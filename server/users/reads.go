package users

import (
	"context"
	"errors"
	"strings"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	"github.com/example/userd/cache"
	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/server/packing"
	"github.com/example/userd/server/wire"
	"github.com/example/userd/store"
)

// Reader reads users encoded by [EncodeUser]. A [cache.Cache] is one; its methods
// say what the answers mean.
type Reader interface {
	Lookup(ctx context.Context, id string, read cache.Read) (cache.Entry, error)
	LookupMany(ctx context.Context, ids []string, read cache.Read) ([]cache.Entry, error)
	LookupByEmail(ctx context.Context, email string, read cache.Read) (cache.Entry, error)
	LookupByExternalID(ctx context.Context, externalID string, read cache.Read) (cache.Entry, error)
}

// uncached reads from a store.
type uncached struct {
	store store.Store
}

func (u uncached) Lookup(ctx context.Context, id string, _ cache.Read) (cache.Entry, error) {
	return entryOf(u.store.Get(ctx, id))
}

func (u uncached) LookupByEmail(ctx context.Context, email string, _ cache.Read) (cache.Entry, error) {
	return entryOf(u.store.GetByEmail(ctx, email))
}

func (u uncached) LookupByExternalID(ctx context.Context, externalID string, _ cache.Read) (cache.Entry, error) {
	return entryOf(u.store.GetByExternalID(ctx, externalID))
}

func (u uncached) LookupMany(ctx context.Context, ids []string, _ cache.Read) ([]cache.Entry, error) {
	found, err := u.store.GetMany(ctx, ids)
	if err != nil {
		return nil, err
	}
	entries := make([]cache.Entry, len(ids))
	for i, id := range ids {
		if len(found) > 0 && found[0].ID == id {
			if entries[i], err = entryOf(found[0], nil); err != nil {
				return nil, err
			}
			found = found[1:]
		}
	}
	return entries, nil
}

func entryOf(user store.User, err error) (cache.Entry, error) {
	if errors.Is(err, store.ErrNotFound) {
		return cache.Entry{}, nil
	}
	if err != nil {
		return cache.Entry{}, err
	}
	data, err := wire.EncodeUser(user)
	return cache.Entry{Data: data, Version: user.Version, Found: err == nil}, err
}

// Interceptor serves what generated handlers cannot: reads, lists, updates and watches send
// users as they are encoded, in the cache or from the store, and streams of requests use one
// message again and again.
func (u *Service) Interceptor(next connect.ServerFunc) connect.ServerFunc {
	return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
		switch spec.Procedure {
		case userv1connect.UserServiceGetUserProcedure:
			return u.getUser(ctx, stream)
		case userv1connect.UserServiceBatchGetUsersProcedure:
			return u.batchGetUsers(ctx, stream)
		case userv1connect.UserServiceGetUserByEmailProcedure:
			return u.getUserByEmail(ctx, stream)
		case userv1connect.UserServiceGetUserByExternalIdProcedure:
			return u.getUserByExternalID(ctx, stream)
		case userv1connect.UserServiceListUsersProcedure:
			return u.listUsers(ctx, stream)
		case userv1connect.UserServiceWatchUsersProcedure:
			return u.watchers.Serve(ctx, stream)
		case userv1connect.UserServiceBatchCreateUsersProcedure:
			return u.batchCreateUsers(ctx, stream)
		case userv1connect.UserServiceStreamUserUpdatesProcedure:
			return u.streamUserUpdates(ctx, stream)
		}
		return next(ctx, spec, stream)
	}
}

func (u *Service) getUser(ctx context.Context, stream connect.ServerStream) error {
	e := earlyOf(ctx)
	if err := stream.Receive(&e.request); err != nil {
		return err
	}
	call, _ := connect.CallInfoForServerContext(ctx)
	if e.id == "" {
		if err := u.lookup(ctx, call, e); err != nil {
			return err
		}
	}
	if isGet(call) && u.notModified(call, []string{e.id}, []cache.Entry{e.answer.Entry}) {
		return connecthttp.NewNotModifiedError()
	}
	return stream.Send(&e.answer)
}

// lookup finds the user that a request asks for.
func (u *Service) lookup(ctx context.Context, call *connect.CallInfo, e *early) (err error) {
	e.id = wire.CanonicalID(e.request.GetUserId())
	e.answer.Entry, err = u.Reader.Lookup(ctx, e.id, cache.Read{MinVersion: e.request.GetMinVersion(), NoCache: noCache(call)})
	return err
}

func (u *Service) getUserByEmail(ctx context.Context, stream connect.ServerStream) error {
	var req userv1.GetUserByEmailRequest
	return find(ctx, stream, &req, u.Reader.LookupByEmail, req.GetEmail)
}

func (u *Service) getUserByExternalID(ctx context.Context, stream connect.ServerStream) error {
	var req userv1.GetUserByExternalIdRequest
	return find(ctx, stream, &req, u.Reader.LookupByExternalID, req.GetExternalId)
}

// find answers a request for the user with a key, which is read when the request is here.
func find(ctx context.Context, stream connect.ServerStream, req any,
	lookup func(context.Context, string, cache.Read) (cache.Entry, error), key func() string,
) error {
	if err := stream.Receive(req); err != nil {
		return err
	}
	call, _ := connect.CallInfoForServerContext(ctx)
	entry, err := lookup(ctx, key(), cache.Read{NoCache: noCache(call)})
	if err != nil {
		return err
	}
	return stream.Send(&wire.EncodedUser{Entry: entry})
}

func (u *Service) batchGetUsers(ctx context.Context, stream connect.ServerStream) error {
	var req userv1.BatchGetUsersRequest
	if err := stream.Receive(&req); err != nil {
		return err
	}
	call, _ := connect.CallInfoForServerContext(ctx)
	ids := wire.CanonicalIDs(req.GetUserIds())
	entries, err := u.Reader.LookupMany(ctx, ids, cache.Read{NoCache: noCache(call)})
	if err != nil {
		return err
	}
	if isGet(call) && u.notModified(call, ids, entries) {
		return connecthttp.NewNotModifiedError()
	}
	response := &wire.EncodedUsers{Found: entries[:0]}
	for i, entry := range entries {
		if entry.Found {
			response.Found = append(response.Found, entry)
		} else {
			response.Missing = append(response.Missing, ids[i])
		}
	}
	if _, err := packing.TakeAnswer(ctx, func() int { return wire.EncodedSize(response) }); err != nil {
		return err
	}
	return stream.Send(response)
}

// noCache reports whether the caller asks for an answer of the store itself, with
// the request header "cache-control: no-cache".
func noCache(call *connect.CallInfo) bool {
	return hasNoCache(call.RequestHeader().Values("Cache-Control"))
}

// hasNoCache reports whether these values of "cache-control" say so.
func hasNoCache(values []string) bool {
	for _, value := range values {
		for directive := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.TrimSpace(directive), "no-cache") {
				return true
			}
		}
	}
	return false
}
