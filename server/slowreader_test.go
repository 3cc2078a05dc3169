package server_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/example/userd/store"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/server"
	"github.com/example/userd/server/servertest"
)

// pausing is a client whose caller pauses after the first message of a list.
type pausing struct {
	http2 server.Transport // "" for HTTP/1.1.
	with  protocol
}

// slowWindow is more than what a stream sends in small pieces, so that what waits for it
// is a large one.
const slowWindow = 72 << 10

func pausingClients() map[string]pausing {
	clients := make(map[string]pausing)
	for _, with := range []protocol{grpcBinary, grpcWeb, connectRPC} {
		for _, transport := range []server.Transport{server.Engine, server.Std} {
			clients[fmt.Sprintf("%s, %s", with.name, transport)] = pausing{transport, with}
		}
	}
	for _, with := range []protocol{grpcWeb, connectRPC} {
		clients[with.name+", HTTP/1.1"] = pausing{"", with}
	}
	return clients
}

// list reads a list of all users of a store, with a pause after the first, and returns how
// many there were and how the list has ended. It is called in a bubble of synctest.
func (p pausing) list(t *testing.T, users store.Store, pause time.Duration) (read int, err error) {
	t.Helper()
	running, err := server.New(server.Config{Store: users, HTTP2: cmp.Or(p.http2, server.Engine), AllowedHosts: []string{"*"}})
	if err != nil {
		t.Fatal(err)
	}
	listener := newPipes()
	served := make(chan error, 1)
	go func() { served <- running.Serve(listener) }()
	transport := &http.Transport{
		Protocols:   new(http.Protocols),
		DialContext: func(context.Context, string, string) (net.Conn, error) { return listener.dial(), nil },
		HTTP2:       &http.HTTP2Config{MaxReceiveBufferPerStream: slowWindow, MaxReceiveBufferPerConnection: 4 * slowWindow},
	}
	transport.Protocols.SetHTTP1(p.http2 == "")
	transport.Protocols.SetUnencryptedHTTP2(p.http2 != "")
	client := userv1connect.NewUserServiceClient(connect.NewClient(
		connecthttp.NewTransport(&http.Client{Transport: transport}, "http://test", p.with.options...)))
	stream, err := client.ListUsers(t.Context(), &userv1.ListUsersRequest{All: true})
	if err != nil {
		t.Fatal(err)
	}
	for ; err == nil; read++ {
		if _, err = stream.Receive(); read == 0 {
			time.Sleep(pause)
		}
	}
	transport.CloseIdleConnections()
	if err := errors.Join(running.Shutdown(t.Context()), <-served); err != nil {
		t.Error(err)
	}
	return read - 1, err
}

// A caller that stops to read its stream is told why it ends when it reads again: over gRPC
// with the engine whenever that is, else for a while.
func TestSlowReaderIsTold(t *testing.T) {
	t.Parallel()
	told := failure{connect.CodeResourceExhausted, userv1.Reason_REASON_SLOW_CONSUMER, "", ""}
	for name, client := range pausingClients() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				read, err := client.list(t, endlessStore{}, 40*time.Second)
				checkError(t, err, told)
				if read == 0 {
					t.Error("what was sent before is not there")
				}
			})
			synctest.Test(t, func(t *testing.T) {
				_, err := client.list(t, endlessStore{}, 100*time.Second)
				switch {
				case client.http2 == server.Engine && client.with.name == grpcBinary.name:
					checkError(t, err, told)
				case client.http2 == server.Engine && connect.CodeOf(err) != connect.CodeResourceExhausted:
					t.Errorf("much later the stream ends with %v", err)
				case errors.Is(err, io.EOF):
					t.Error("much later the stream ends well")
				}
			})
		})
	}
}

// A list whose last users are not read for too long does not end as if they had been sent.
func TestSlowReaderOfTheLastMessages(t *testing.T) {
	t.Parallel()
	for name, client := range pausingClients() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			users := new(idleStore)
			for count := 650; count < 1000; count += 25 {
				for len(users.users) < count {
					users.users = append(users.users, listedUser(len(users.users)))
				}
				synctest.Test(t, func(t *testing.T) {
					read, err := client.list(t, users, 40*time.Second)
					if errors.Is(err, io.EOF) {
						if read < count {
							t.Errorf("a list of %d users ends well after %d", count, read)
						}
						return
					}
					checkError(t, err, failure{connect.CodeResourceExhausted, userv1.Reason_REASON_SLOW_CONSUMER, "", ""})
				})
			}
		})
	}
}

// The client of Google tells of a message that ends in the middle rather than of how the
// call has ended.
func TestSlowReaderWithGRPCGoIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		running, err := server.New(server.Config{Store: endlessStore{}, HTTP2: server.Engine, AllowedHosts: []string{"*"}})
		if err != nil {
			t.Fatal(err)
		}
		listener := newPipes()
		served := make(chan error, 1)
		go func() { served <- running.Serve(listener) }()
		metrics := &servertest.Server{Server: running}
		checkMetrics(t, metrics, "userd_slow_consumers_total 0")
		conn, err := grpc.NewClient("passthrough:///test", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return listener.dial(), nil }))
		if err != nil {
			t.Fatal(err)
		}
		stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, userv1connect.UserServiceListUsersProcedure)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(stream.SendMsg(&userv1.ListUsersRequest{All: true}), stream.CloseSend()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(40 * time.Second)
		checkMetrics(t, metrics, "userd_slow_consumers_total 1",
			`rpc_server_stream_duration_seconds_count{rpc_method="user.v1.UserService/ListUsers",rpc_response_status_code="RESOURCE_EXHAUSTED",rpc_system_name="grpc"} 1`)
		read := 0
		for err = stream.RecvMsg(new(userv1.User)); err == nil; err = stream.RecvMsg(new(userv1.User)) {
			read++
		}
		if read == 0 || status.Code(err) != codes.ResourceExhausted {
			t.Errorf("after %d users the stream ends with %v", read, err)
		}
		var infos []*errdetails.ErrorInfo
		for _, detail := range status.Convert(err).Details() {
			if info, ok := detail.(*errdetails.ErrorInfo); ok {
				infos = append(infos, info)
			}
		}
		checkInfo(t, infos, userv1.Reason_REASON_SLOW_CONSUMER)
		if err := errors.Join(conn.Close(), running.Shutdown(t.Context()), <-served); err != nil {
			t.Error(err)
		}
	})
}
