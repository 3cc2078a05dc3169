package load

import (
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/example/userd/cmd/userbench/population"
	userv1 "github.com/example/userd/gen/user/v1"
)

// answer is what a test server says to a GetUser or BatchGetUsers.
type answer struct {
	message    proto.Message
	grpcStatus string
	details    string // The trailer grpc-status-details-bin.
	stall      time.Duration
}

// serveHTTP2 serves gRPC over net/http's HTTP/2 until the test ends.
func serveHTTP2(t *testing.T, users *population.Users, say func(id string) answer) string {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return serve(t, protocols, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var req userv1.GetUserRequest
		if err != nil || len(body) < grpcPrefix || proto.Unmarshal(body[grpcPrefix:], &req) != nil {
			http.Error(w, "not a request", http.StatusBadRequest)
			return
		}
		said := say(req.GetUserId())
		time.Sleep(said.stall)
		message, err := proto.Marshal(said.message)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "application/grpc+proto")
		w.Header().Set("Trailer", "Grpc-Status, Grpc-Status-Details-Bin")
		_, _ = w.Write(append(AppendPrefix(nil, len(message)), message...))
		w.Header().Set("Grpc-Status", said.grpcStatus)
		w.Header().Set("Grpc-Status-Details-Bin", said.details)
	})
}

func serve(t *testing.T, protocols *http.Protocols, handler http.HandlerFunc) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler, Protocols: protocols}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener) // Says that it was closed.
	}()
	t.Cleanup(func() {
		server.Close()
		<-served
	})
	return listener.Addr().String()
}

// byID finds the users of a population.
func byID(users *population.Users) map[string]*userv1.User {
	found := make(map[string]*userv1.User)
	for i := range users.Len() {
		found[users.ID(i)] = users.User(i)
	}
	return found
}

// right answers as a server should.
func right(users *population.Users) func(id string) answer {
	found := byID(users)
	return func(id string) answer {
		return answer{message: &userv1.GetUserResponse{User: found[id]}, grpcStatus: "0"}
	}
}
