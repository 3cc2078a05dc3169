package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
)

// serveConnect serves with Connect on net/http, as its documentation does it:
// default codecs, no interceptors.
func serveConnect(listener net.Listener, u *users) error {
	rpc := connect.NewServer()
	userv1connect.RegisterUserServiceHandler(rpc, connectHandler{users: u})
	mux := http.NewServeMux()
	connecthttp.Mount(mux, rpc)
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Protocols: protocols, Handler: mux}
	return server.Serve(listener)
}

// connectHandler answers the calls that are measured.
type connectHandler struct {
	userv1connect.UnimplementedUserServiceHandler
	users *users
}

func (h connectHandler) GetUser(_ context.Context, req *userv1.GetUserRequest) (*userv1.GetUserResponse, error) {
	return h.users.get(req), nil
}

func (h connectHandler) BatchGetUsers(_ context.Context, req *userv1.BatchGetUsersRequest) (*userv1.BatchGetUsersResponse, error) {
	return h.users.getMany(req), nil
}

func (h connectHandler) ListUsers(_ context.Context, _ *userv1.ListUsersRequest, stream userv1connect.UserServiceListUsersServerStream) error {
	for _, user := range h.users.all {
		if err := stream.Send(user); err != nil {
			return err
		}
	}
	return nil
}

func (h connectHandler) BatchCreateUsers(_ context.Context, stream userv1connect.UserServiceBatchCreateUsersServerStream) (*userv1.BatchCreateUsersResponse, error) {
	resp := new(userv1.BatchCreateUsersResponse)
	for {
		req, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return resp, nil
		}
		if err != nil {
			return nil, err
		}
		resp.SuccessCount++
		resp.CreatedUserIds = append(resp.CreatedUserIds, req.GetUserId())
	}
}

func (h connectHandler) StreamUserUpdates(_ context.Context, stream userv1connect.UserServiceStreamUserUpdatesServerStream) error {
	for {
		req, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(h.users.update(req)); err != nil {
			return err
		}
	}
}
