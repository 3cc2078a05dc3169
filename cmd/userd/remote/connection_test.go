package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	"github.com/example/userd/cmd/userd/rows"
	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
)

// noticed is how long a command may take to notice that nobody answers on a connection.
const noticed = pingAfter + pingTimeout + time.Second

// network is one in memory, between a server and its clients. Connections can freeze: they
// stay open, but nothing comes out of them.
type network struct {
	dialed chan net.Conn
	closed chan struct{}
	frozen atomic.Bool // New connections are.

	mu    sync.Mutex
	conns []*frozenConn
}

// frozenConn is the server's end of a connection that can freeze.
type frozenConn struct {
	net.Conn
	frozen atomic.Bool
}

func (c *frozenConn) Read(into []byte) (int, error) {
	for {
		n, err := c.Conn.Read(into)
		if err != nil || !c.frozen.Load() {
			return n, err
		}
	}
}

func (c *frozenConn) Write(text []byte) (int, error) {
	if c.frozen.Load() {
		return len(text), nil
	}
	return c.Conn.Write(text)
}

func (n *network) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	conn := &frozenConn{Conn: server}
	conn.frozen.Store(n.frozen.Load())
	n.mu.Lock()
	n.conns = append(n.conns, conn)
	n.mu.Unlock()
	select {
	case n.dialed <- conn:
		return client, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// freeze freezes all connections that there are.
func (n *network) freeze() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, conn := range n.conns {
		conn.frozen.Store(true)
	}
}

// Accept, Close and Addr are those of the server's listener.
func (n *network) Accept() (net.Conn, error) {
	select {
	case conn := <-n.dialed:
		return conn, nil
	case <-n.closed:
		return nil, net.ErrClosed
	}
}

func (n *network) Close() error {
	close(n.closed)
	return nil
}

func (n *network) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// overNetwork runs a test in a bubble of its own, with a client of a server over a network.
func overNetwork(t *testing.T, handler userv1connect.UserServiceHandler, test func(*testing.T, *network, userv1connect.UserServiceClient)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := &network{dialed: make(chan net.Conn), closed: make(chan struct{})}
		rpc := connect.NewServer()
		userv1connect.RegisterUserServiceHandler(rpc, handler)
		mux := http.NewServeMux()
		connecthttp.Mount(mux, rpc)
		server := http.Server{Handler: mux, Protocols: new(http.Protocols), ReadHeaderTimeout: time.Hour}
		server.Protocols.SetUnencryptedHTTP2(true)
		go func() { _ = server.Serve(n) }() // It ends when it is closed.
		t.Cleanup(func() { _ = server.Close() })

		var to target
		transport, err := to.transport("http")
		if err != nil {
			t.Fatal(err)
		}
		transport.DialContext = n.dial
		t.Cleanup(transport.CloseIdleConnections)
		test(t, n, to.client(transport, "http://127.0.0.1:1"))
	})
}

// quietServer answers when it is told to.
type quietServer struct {
	userv1connect.UnimplementedUserServiceHandler
	asked func(ctx context.Context, calls int) error // Is to be done before an answer.
	calls atomic.Int32
}

func (s *quietServer) ask(ctx context.Context) error { return s.asked(ctx, int(s.calls.Add(1))) }

func (s *quietServer) GetUser(ctx context.Context, _ *userv1.GetUserRequest) (*userv1.GetUserResponse, error) {
	return new(userv1.GetUserResponse), s.ask(ctx)
}

func (s *quietServer) ListUsers(ctx context.Context, _ *userv1.ListUsersRequest, stream userv1connect.UserServiceListUsersServerStream) error {
	if err := stream.Send(new(userv1.User)); err != nil {
		return err
	}
	return s.ask(ctx)
}

func (s *quietServer) WatchUsers(ctx context.Context, _ *userv1.WatchUsersRequest, stream userv1connect.UserServiceWatchUsersServerStream) error {
	if err := stream.Send(&userv1.WatchUsersResponse{Cursor: "seven"}); err != nil {
		return err
	}
	return s.ask(ctx)
}

func (s *quietServer) BatchCreateUsers(ctx context.Context, stream userv1connect.UserServiceBatchCreateUsersServerStream) (*userv1.BatchCreateUsersResponse, error) {
	response := new(userv1.BatchCreateUsersResponse)
	for {
		_, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return response, s.ask(ctx)
		}
		if err != nil {
			return nil, err
		}
		response.SuccessCount++
	}
}

// silent never answers.
func silent(ctx context.Context, _ int) error {
	<-ctx.Done()
	return ctx.Err()
}

// A watch goes on on another connection when nothing passes through the one that it has, and
// when what answers there says nothing of users.
func TestWatchNoticesSilence(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		befall func(*network)
		within time.Duration
	}{
		"the server is frozen": {(*network).freeze, noticed},
		"a proxy waits for it": {func(*network) {}, silence + time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := new(quietServer)
			overNetwork(t, s, func(t *testing.T, n *network, users userv1connect.UserServiceClient) {
				ctx, interrupt := context.WithCancel(t.Context())
				defer interrupt()
				out := &shown{seen: make(chan struct{})}
				befallen := make(chan time.Time, 1)
				s.asked = func(ctx context.Context, calls int) error {
					if calls > 1 {
						interrupt()
						return nil
					}
					<-out.seen
					test.befall(n)
					befallen <- time.Now()
					return silent(ctx, calls)
				}
				if err := watch(ctx, users, "", newPrinter(out, true)); ctx.Err() == nil {
					t.Errorf("it ends with %v", err)
				}
				if took := time.Since(<-befallen); took > test.within {
					t.Errorf("it takes %v, want %v", took, test.within)
				}
			})
		})
	}
}

// No command waits for ever for a server that is frozen, or for a proxy that waits for one.
func TestCallsEndInSilence(t *testing.T) {
	t.Parallel()
	for name, call := range map[string]func(context.Context, userv1connect.UserServiceClient) error{
		"get": func(ctx context.Context, users userv1connect.UserServiceClient) error {
			_, err := find(ctx, users, "7d0f6a52-6b1c-4c11-9d5f-3a8f1c2b4e5d", false)
			return err
		},
		"list": func(ctx context.Context, users userv1connect.UserServiceClient) error {
			return list(ctx, users, 0, newPrinter(io.Discard, true))
		},
		"import": func(ctx context.Context, users userv1connect.UserServiceClient) error {
			return (&fileImport{users: users}).sendOnce(ctx, &batch{rows: []rows.Row{{User: new(userv1.CreateUserRequest)}}}).err
		},
	} {
		for _, frozen := range []bool{true, false} {
			t.Run(fmt.Sprint(name, ", frozen: ", frozen), func(t *testing.T) {
				t.Parallel()
				overNetwork(t, &quietServer{asked: silent}, func(t *testing.T, n *network, users userv1connect.UserServiceClient) {
					n.frozen.Store(frozen)
					within := silence + time.Second
					if frozen {
						within = noticed
					}
					since := time.Now()
					err := call(t.Context(), users)
					if took := time.Since(since); !passing(err) || took > within {
						t.Errorf("it ends after %v with %v", took, err)
					}
				})
			})
		}
	}
}

// An import waits for a server that is frozen as for one that is away.
func TestImportWaitsForAFrozenServer(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		frozen time.Duration
		goesOn bool
	}{"for a while": {retryFor / 2, true}, "for too long": {3 * retryFor, false}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &quietServer{asked: func(context.Context, int) error { return nil }}
			overNetwork(t, s, func(t *testing.T, n *network, users userv1connect.UserServiceClient) {
				n.frozen.Store(true)
				thaw := time.AfterFunc(test.frozen, func() { n.frozen.Store(false) })
				defer thaw.Stop()
				i := fileImport{flags: new(importFlags), users: users, shown: newProgress(-1, "imported")}
				defer i.shown.end()
				r := i.send(t.Context(), &batch{rows: []rows.Row{{User: new(userv1.CreateUserRequest)}}})
				if stored := r.err == nil && r.response.GetSuccessCount() == 1; stored != test.goesOn {
					t.Errorf("it ends with %v, error %v", r.response, r.err)
				}
			})
		})
	}
}
