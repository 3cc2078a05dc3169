package userd

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/example/userd/server"
	"github.com/example/userd/store/sqlite"
)

// interopCases are those of grpc-go's interop client that need nothing but a server.
// A case that fails ends the process.
var interopCases = map[string]func(ctx context.Context, conn *grpc.ClientConn){
	"empty_unary":                 withService(interop.DoEmptyUnaryCall),
	"large_unary":                 withService(interop.DoLargeUnaryCall),
	"client_streaming":            withService(interop.DoClientStreaming),
	"server_streaming":            withService(interop.DoServerStreaming),
	"ping_pong":                   withService(interop.DoPingPong),
	"empty_stream":                withService(interop.DoEmptyStream),
	"timeout_on_sleeping_server":  withService(interop.DoTimeoutOnSleepingServer),
	"cancel_after_begin":          withService(interop.DoCancelAfterBegin),
	"cancel_after_first_response": withService(interop.DoCancelAfterFirstResponse),
	"custom_metadata":             withService(interop.DoCustomMetadata),
	"status_code_and_message":     withService(interop.DoStatusCodeAndMessage),
	"special_status_message":      withService(interop.DoSpecialStatusMessage),
	"unimplemented_method":        interop.DoUnimplementedMethod,
	"unimplemented_service": func(ctx context.Context, conn *grpc.ClientConn) {
		interop.DoUnimplementedService(ctx, testpb.NewUnimplementedServiceClient(conn))
	},
}

func withService(do func(context.Context, testpb.TestServiceClient, ...grpc.CallOption)) func(context.Context, *grpc.ClientConn) {
	return func(ctx context.Context, conn *grpc.ClientConn) { do(ctx, testpb.NewTestServiceClient(conn)) }
}

func TestInterop(t *testing.T) {
	for _, transport := range []server.Transport{server.Std, server.Engine} {
		conn := dialGRPC(t, serveInterop(t, transport))
		for name, run := range interopCases {
			t.Run(string(transport)+"/"+name, func(t *testing.T) { run(t.Context(), conn) })
		}
	}
}

func dialGRPC(t *testing.T, address string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return conn
}

// serveInterop serves grpc.testing.TestService until the test ends, and returns where.
func serveInterop(t *testing.T, transport server.Transport) string {
	t.Helper()
	users, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "userd.db")})
	if err != nil {
		t.Fatal(err)
	}
	running, err := server.New(server.Config{Store: users, HTTP2: transport, Register: registerInterop})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- running.Serve(listener) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := errors.Join(running.Shutdown(ctx), <-served, users.Close()); err != nil {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

func registerInterop(rpc *connect.Server) {
	methods := testpb.File_grpc_testing_test_proto.Services().ByName("TestService").Methods()
	for name, serve := range map[protoreflect.Name]func(context.Context, connect.ServerStream) error{
		"EmptyCall": func(_ context.Context, stream connect.ServerStream) error {
			if err := stream.Receive(new(testpb.Empty)); err != nil {
				return err
			}
			return stream.Send(new(testpb.Empty))
		},
		"UnaryCall": unaryCall,
		"StreamingOutputCall": func(_ context.Context, stream connect.ServerStream) error {
			var req testpb.StreamingOutputCallRequest
			if err := stream.Receive(&req); err != nil {
				return err
			}
			return sendPayloads(stream, &req)
		},
		"StreamingInputCall": streamingInputCall,
		"FullDuplexCall":     fullDuplexCall,
	} {
		method := methods.ByName(name)
		spec := connect.Spec{Procedure: "/" + string(method.Parent().FullName()) + "/" + string(name), Schema: method}
		if method.IsStreamingClient() {
			spec.StreamType |= connect.StreamTypeClient
		}
		if method.IsStreamingServer() {
			spec.StreamType |= connect.StreamTypeServer
		}
		rpc.Register(connect.Method{Spec: spec, Handler: func(ctx context.Context, _ connect.Spec, stream connect.ServerStream) error {
			return serve(ctx, stream)
		}})
	}
}

// echo sends the metadata back that the cases ask for.
func echo(ctx context.Context) {
	const initial, trailing = "X-Grpc-Test-Echo-Initial", "X-Grpc-Test-Echo-Trailing-Bin"
	call, _ := connect.CallInfoForServerContext(ctx)
	if value := call.RequestHeader().Get(initial); value != "" {
		call.ResponseHeader().Set(initial, value)
	}
	if value := call.RequestHeader().Get(trailing); value != "" {
		call.ResponseTrailer().Set(trailing, value)
	}
}

// statusError is the error that a request asks for, or nil.
func statusError(status *testpb.EchoStatus) error {
	if status.GetCode() == 0 {
		return nil
	}
	return connect.NewError(connect.Code(status.GetCode()), status.GetMessage())
}

func unaryCall(ctx context.Context, stream connect.ServerStream) error {
	var req testpb.SimpleRequest
	if err := stream.Receive(&req); err != nil {
		return err
	}
	echo(ctx)
	if err := statusError(req.GetResponseStatus()); err != nil {
		return err
	}
	return stream.Send(&testpb.SimpleResponse{Payload: &testpb.Payload{Body: make([]byte, req.GetResponseSize())}})
}

func streamingInputCall(_ context.Context, stream connect.ServerStream) error {
	size := 0
	for {
		var req testpb.StreamingInputCallRequest
		err := stream.Receive(&req)
		if errors.Is(err, io.EOF) {
			return stream.Send(&testpb.StreamingInputCallResponse{AggregatedPayloadSize: int32(size)})
		}
		if err != nil {
			return err
		}
		size += len(req.GetPayload().GetBody())
	}
}

func fullDuplexCall(ctx context.Context, stream connect.ServerStream) error {
	echo(ctx)
	for {
		var req testpb.StreamingOutputCallRequest
		err := stream.Receive(&req)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = statusError(req.GetResponseStatus())
		}
		if err == nil {
			err = sendPayloads(stream, &req)
		}
		if err != nil {
			return err
		}
	}
}

func sendPayloads(stream connect.ServerStream, req *testpb.StreamingOutputCallRequest) error {
	for _, parameters := range req.GetResponseParameters() {
		pause(uint32(parameters.GetIntervalUs() / 1000))
		response := &testpb.StreamingOutputCallResponse{Payload: &testpb.Payload{Body: make([]byte, parameters.GetSize())}}
		if err := stream.Send(response); err != nil {
			return err
		}
	}
	return nil
}
