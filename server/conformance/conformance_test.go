// Package userd runs the conformance suite of Connect against the server: its
// listener, limits, codecs, compressors and interceptors around the service of the
// suite. It is a module of its own, so that the suite is no dependency of userd, and
// lives below the path of the suite, whose messages are internal there.
package userd

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/conformance/internal"
	"connectrpc.com/conformance/internal/app/connectconformance"
	conformancev1 "connectrpc.com/conformance/internal/gen/proto/go/connectrpc/conformance/v1"
	"connectrpc.com/conformance/internal/gen/proto/go/connectrpc/conformance/v1/conformancev1connect"
	"connectrpc.com/connect/v2"

	"github.com/example/userd/server"
	"github.com/example/userd/store/sqlite"
)

// transportVariable makes this binary the server under test, with HTTP/2 served by
// the transport that it names.
const transportVariable = "USERD_HTTP2_UNDER_TEST"

func TestMain(m *testing.M) {
	transport, ok := os.LookupEnv(transportVariable)
	if !ok {
		os.Exit(m.Run())
	}
	if err := serve(server.Transport(transport)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func TestConformance(t *testing.T) {
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, transport := range []server.Transport{server.Std, server.Engine} {
		t.Run(string(transport), func(t *testing.T) {
			t.Parallel() // Many cases wait.
			ok, err := connectconformance.Run(&connectconformance.Flags{
				ConfigFile: "config.yaml", ServerCommand: []string{"env", transportVariable + "=" + string(transport), binary},
				MaxServers: 2, Parallelism: uint(4 * runtime.GOMAXPROCS(0)),
			}, internal.NewPrinter(t.Output()), internal.NewPrinter(t.Output()))
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				t.Error("cases have failed")
			}
		})
	}
}

// serve serves the suite's service as a request on standard input says, until it is
// told to stop.
func serve(transport server.Transport) error {
	codec := internal.NewCodec(false)
	var request conformancev1.ServerCompatRequest
	if err := codec.NewDecoder(os.Stdin).DecodeNext(&request); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "conformance")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	users, err := sqlite.Open(ctx, sqlite.Config{Path: dir + "/userd.db"})
	if err != nil {
		return err
	}
	defer users.Close()
	config := server.Config{
		Store: users, HTTP2: transport, MaxMessageBytes: int(request.GetMessageReceiveLimit()),
		Register: func(rpc *connect.Server) {
			conformancev1connect.RegisterConformanceServiceHandler(rpc, new(service))
		},
	}
	if request.GetUseTls() {
		if config.TLS, err = tlsConfig(&request); err != nil {
			return err
		}
	}
	running, err := server.New(config)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- running.Serve(listener) }()
	if err := codec.NewEncoder(os.Stdout).Encode(&conformancev1.ServerCompatResponse{
		Host: "127.0.0.1", Port: uint32(listener.Addr().(*net.TCPAddr).Port), PemCert: request.GetServerCreds().GetCert(),
	}); err != nil {
		return err
	}
	<-ctx.Done()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := running.Shutdown(ctx); err != nil {
		return err
	}
	return <-served
}

func tlsConfig(request *conformancev1.ServerCompatRequest) (*tls.Config, error) {
	certificate, err := internal.ParseServerCert(request.GetServerCreds().GetCert(), request.GetServerCreds().GetKey())
	if err != nil {
		return nil, err
	}
	clients := tls.NoClientCert
	if len(request.GetClientTlsCert()) > 0 {
		clients = tls.RequireAndVerifyClientCert
	}
	return internal.NewServerTLSConfig(certificate, clients, request.GetClientTlsCert())
}
