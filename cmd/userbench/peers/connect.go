package main

import (
	"context"
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
