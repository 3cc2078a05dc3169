// The example is a service that knows of users: it reads one when it is asked for it, and
// follows all changes, also those that are made while it or userd is not there.
//
//	go run ./cmd/examples/go -server http://127.0.0.1:8080 -cursor cursor
//
// It prints each change, where yours would do something with it: send a mail, keep an index.
// GET /greeting?user=ID greets a user. A userd that knows its callers gets the token in
// USERD_TOKEN, which may do users.read and users.list. Where the authority of its certificate
// is not known to the system, SSL_CERT_FILE names it. retry.go and follow.go are to be copied.
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
	if err := run(ctx, newClient(*server, os.Getenv("USERD_TOKEN")), *listen, *cursor); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run serves and follows until the context ends.
func run(ctx context.Context, users userv1connect.UserServiceClient, listen, cursor string) error {
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	fmt.Printf("listening on http://%s\n", listener.Addr())
	web := &http.Server{Handler: greeter{users}, ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- web.Serve(listener) }()
	follower := follower{users: users, cursor: cursor, handle: show, listed: listed}
	err = follower.run(ctx)
	_ = web.Close()
	<-served
	return err
}

// newClient returns a client of userd over HTTP/2, in the clear or over TLS. A connection that
// is silent is asked whether the server is still there.
func newClient(server, token string) userv1connect.UserServiceClient {
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{
		Protocols: protocols, TLSHandshakeTimeout: 10 * time.Second,
		HTTP2: &http.HTTP2Config{SendPingTimeout: 10 * time.Second, PingTimeout: 10 * time.Second},
	}}
	return userv1connect.NewUserServiceClient(connect.NewClient(connecthttp.NewTransport(client, server), retry, authorize(token)))
}

// authorize sends a token with each call, where there is one.
func authorize(token string) connect.ClientInterceptor {
	return func(next connect.ClientFunc) connect.ClientFunc {
		return func(ctx context.Context, spec connect.Spec) (connect.ClientStream, error) {
			if call, ok := connect.CallInfoForClientContext(ctx); ok && token != "" {
				call.RequestHeader().Set("Authorization", "Bearer "+token)
			}
			return next(ctx, spec)
		}
	}
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

// listed says that all users have come. Yours drops those that it knows and has not seen since.
func listed(time.Time) error {
	_, err := fmt.Println("listed")
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
