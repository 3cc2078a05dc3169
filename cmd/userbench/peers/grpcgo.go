package main

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime"

	"google.golang.org/grpc"

	userv1 "github.com/example/userd/gen/user/v1"
)

// serveGRPC serves with grpc-go and its own transport. A worker for each processor
// spares it a goroutine for each call.
func serveGRPC(listener net.Listener, u *users) error {
	server := grpc.NewServer(grpc.NumStreamWorkers(uint32(runtime.GOMAXPROCS(0))))
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "user.v1.UserService",
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "GetUser", Handler: u.getGRPC}},
		Streams: []grpc.StreamDesc{
			{StreamName: "ListUsers", ServerStreams: true, Handler: u.listGRPC},
			{StreamName: "BatchCreateUsers", ClientStreams: true, Handler: u.importGRPC},
			{StreamName: "StreamUserUpdates", ClientStreams: true, ServerStreams: true, Handler: u.updatesGRPC},
		},
	}, u)
	return server.Serve(listener)
}

// getGRPC is what protoc-gen-go-grpc generates for a unary method, without
// interceptors.
func (u *users) getGRPC(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	req := new(userv1.GetUserRequest)
	if err := decode(req); err != nil {
		return nil, err
	}
	return u.get(req), nil
}

func (u *users) listGRPC(_ any, stream grpc.ServerStream) error {
	if err := stream.RecvMsg(new(userv1.ListUsersRequest)); err != nil {
		return err
	}
	for _, user := range u.all {
		if err := stream.SendMsg(user); err != nil {
			return err
		}
	}
	return nil
}

func (u *users) importGRPC(_ any, stream grpc.ServerStream) error {
	var resp userv1.BatchCreateUsersResponse
	for {
		req := new(userv1.CreateUserRequest)
		err := stream.RecvMsg(req)
		if errors.Is(err, io.EOF) {
			return stream.SendMsg(&resp)
		}
		if err != nil {
			return err
		}
		resp.SuccessCount++
		resp.CreatedUserIds = append(resp.CreatedUserIds, req.GetUserId())
	}
}

func (u *users) updatesGRPC(_ any, stream grpc.ServerStream) error {
	for {
		req := new(userv1.UserUpdate)
		err := stream.RecvMsg(req)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.SendMsg(u.update(req)); err != nil {
			return err
		}
	}
}
