package server_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/server"
	"github.com/example/userd/store"
	"github.com/example/userd/store/sqlite"
)

// openStore opens a new store. The function that it returns closes and removes it.
func openStore(ctx context.Context) (users store.Store, remove func()) {
	folder, err := os.MkdirTemp("", "userd")
	if err != nil {
		log.Fatal(err)
	}
	users, err = sqlite.Open(ctx, sqlite.Config{Path: filepath.Join(folder, "userd.db")})
	if err != nil {
		log.Fatal(err)
	}
	return users, func() {
		users.Close()
		os.RemoveAll(folder)
	}
}

// A server in another program, and the client that is generated from the schema. It speaks
// Connect, or gRPC by an option.
func ExampleNew() {
	ctx := context.Background()
	stored, remove := openStore(ctx)
	defer remove()

	srv, err := server.New(server.Config{Store: stored})
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(listener) }()

	transport := connecthttp.NewTransport(http.DefaultClient, "http://"+listener.Addr().String())
	users := userv1connect.NewUserServiceClient(connect.NewClient(transport))
	created, err := users.CreateUser(ctx, &userv1.CreateUserRequest{Email: "ada@example.com", DisplayName: "Ada Lovelace"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(created.GetUser().GetDisplayName(), created.GetUser().GetVersion())
	_, err = users.CreateUser(ctx, &userv1.CreateUserRequest{Email: "ADA@example.com", DisplayName: "Another Ada"})
	fmt.Println(connect.CodeOf(err))

	fmt.Println(srv.Shutdown(ctx), <-served)
	// Output:
	// Ada Lovelace 1
	// already_exists
	// <nil> <nil>
}

// The handler alone, behind a server of net/http: plain HTTP/JSON, from any client.
func ExampleServer_Handler() {
	ctx := context.Background()
	stored, remove := openStore(ctx)
	defer remove()
	srv, err := server.New(server.Config{Store: stored})
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Shutdown(ctx)
	listening := httptest.NewServer(srv.Handler())
	defer listening.Close()

	resp, err := http.Post(listening.URL+"/user.v1.UserService/GetUserByEmail", "application/json",
		strings.NewReader(`{"email": "nobody@example.com"}`))
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	fmt.Println(resp.StatusCode, strings.TrimSpace(string(body)), err)
	// Output: 200 {} <nil>
}
