package server_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/server"
	"github.com/example/userd/store"
)

// idleStore has users, and keeps none that are imported.
type idleStore struct {
	store.Store
	users []store.User
}

func (*idleStore) Identity() store.Identity { return store.Identity{} }

func (*idleStore) Capacity() store.Capacity { return store.Capacity{} }

func (s *idleStore) List(_ context.Context, query store.Query) (store.Page, error) {
	from := 0
	if query.After.ID != "" {
		from = int(query.After.CreatedAt.Unix()) + 1
	}
	return store.PageOf(s.users[from:min(from+query.Limit, len(s.users))], query.Limit), nil
}

func (*idleStore) Import(_ context.Context, users []store.NewUser) ([]store.Created, error) {
	created := make([]store.Created, len(users))
	for i, user := range users {
		created[i].ID = user.ID
	}
	return created, nil
}

// streamCall is a gRPC call of a stream that goes to the server's handler without a
// connection.
func streamCall(tb testing.TB, procedure string, messages ...proto.Message) func() {
	tb.Helper()
	idle := new(idleStore)
	for i := range benchmarkUsers {
		idle.users = append(idle.users, listedUser(i))
	}
	running, err := server.New(server.Config{Store: idle, AllowedHosts: []string{"*"}})
	if err != nil {
		tb.Fatal(err)
	}
	var body []byte
	for _, message := range messages {
		body = append(body, envelope(tb, message)...)
	}
	return func() {
		request := httptest.NewRequestWithContext(tb.Context(), http.MethodPost, "/user.v1.UserService/"+procedure, io.NopCloser(bytes.NewReader(body)))
		request.ProtoMajor, request.ProtoMinor = 2, 0
		request.Header = http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}}
		w := &discardingWriter{ResponseRecorder: httptest.NewRecorder()}
		running.Handler().ServeHTTP(w, request)
		if status := w.Header().Get(http.TrailerPrefix + "Grpc-Status"); status != "0" {
			tb.Fatalf("%s ends with status %q", procedure, status)
		}
	}
}

// A message of a stream costs next to nothing but what is kept of it: of a row of an import its
// texts, its roles and its id.
func TestMessagesOfStreamsAllocateLittle(t *testing.T) {
	rows := make([]proto.Message, benchmarkUsers)
	for i := range rows {
		rows[i] = newUserRequest(i)
	}
	for _, test := range []struct {
		procedure string
		messages  []proto.Message
		most      float64 // For each user.
	}{
		{"ListUsers", []proto.Message{&userv1.ListUsersRequest{All: true}}, 0.1},
		{"BatchCreateUsers", rows, 5},
	} {
		allocs := testing.AllocsPerRun(3, streamCall(t, test.procedure, test.messages...)) / benchmarkUsers
		if allocs > test.most*raceAllocs {
			t.Errorf("%s allocates %.2f times for each user, want at most %g", test.procedure, allocs, test.most)
		}
	}
}

func BenchmarkListAllAlone(b *testing.B) {
	call := streamCall(b, "ListUsers", &userv1.ListUsersRequest{All: true})
	b.ReportAllocs()
	for b.Loop() {
		call()
	}
	reportUsers(b)
}

func BenchmarkImportAlone(b *testing.B) {
	rows := make([]proto.Message, benchmarkUsers)
	for i := range rows {
		rows[i] = newUserRequest(i)
	}
	call := streamCall(b, "BatchCreateUsers", rows...)
	b.ReportAllocs()
	for b.Loop() {
		call()
	}
	reportUsers(b)
}

func listedUser(i int) store.User {
	at := time.Unix(int64(i), 0)
	return store.User{ID: someID, Email: testEmail(i), DisplayName: testName(i), Roles: []string{"reader"}, CreatedAt: at, UpdatedAt: at, Version: 1}
}

// discardingWriter is a response that goes nowhere.
type discardingWriter struct {
	*httptest.ResponseRecorder
}

func (*discardingWriter) Write(p []byte) (int, error) { return len(p), nil }

func (*discardingWriter) SetWriteDeadline(time.Time) error { return nil }
