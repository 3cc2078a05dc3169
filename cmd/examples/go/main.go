// The example is a service that knows of users: it reads one when it is asked for it, and
// follows all changes, also those that are made while it or userd is not there.
//
//	go run ./cmd/examples/go -server http://127.0.0.1:8080 -cursor cursor
//
// It prints each change, where yours would do something with it: send a mail, keep an index.
// GET /greeting?user=ID greets a user. retry.go and follow.go are to be copied.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
)

func main() {
	server := flag.String("server", "http://127.0.0.1:8080", "`URL` of userd")
	listen := flag.String("listen", "127.0.0.1:0", "`address` to greet at")
	cursor := flag.String("cursor", "cursor", "`file` to keep the cursor in")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *server, *listen, *cursor); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run serves and follows until the context ends.
func run(ctx context.Context, server, listen, cursor string) error {
	users := newClient(server)
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	fmt.Printf("listening on http://%s\n", listener.Addr())
	web := &http.Server{Handler: greeter{users}, ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- web.Serve(listener) }()
	follower := follower{users: users, cursor: cursor, handle: show}
	err = follower.run(ctx)
	_ = web.Close()
	<-served
	return err
}

// newClient returns a client of userd over HTTP/2, in the clear or over TLS.
func newClient(server string) userv1connect.UserServiceClient {
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: protocols}}
	return userv1connect.NewUserServiceClient(connect.NewClient(connecthttp.NewTransport(client, server), retry))
}

// show prints a change.
func show(event *userv1.UserEvent) error {
	var err error
	if user := event.GetUpserted(); user != nil {
		_, err = fmt.Println("changed", user.GetId(), user.GetVersion())
	} else {
		_, err = fmt.Println("deleted", event.GetDeleted().GetUserId(), event.GetDeleted().GetVersion())
	}
	return err
}

// greeter greets users.
type greeter struct {
	users userv1connect.UserServiceClient
}

func (g greeter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
	defer cancel()
	response, err := g.users.GetUser(ctx, &userv1.GetUserRequest{UserId: r.FormValue("user")})
	failed := new(connect.Error)
	switch {
	case errors.As(err, &failed) && failed.Code() == connect.CodeInvalidArgument:
		http.Error(w, failed.Message(), http.StatusBadRequest)
	case err != nil:
		http.Error(w, "users are away", http.StatusBadGateway)
	case response.GetUser() == nil:
		http.Error(w, "nobody of that id", http.StatusNotFound)
	default:
		fmt.Fprintf(w, "Hello, %s!\n", response.GetUser().GetDisplayName())
	}
}
