package server_test

import (
	"testing"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/server/servertest"
)

func BenchmarkGetUser(b *testing.B) {
	for name, start := range map[string]func(testing.TB) *servertest.Server{
		"store":  func(tb testing.TB) *servertest.Server { return servertest.Start(tb, nil) },
		"cached": servertest.StartCached,
	} {
		for _, protocol := range []protocol{grpcBinary, connectJSON} {
			b.Run(name+"/"+protocol.name, func(b *testing.B) {
				client := start(b).Client(b, protocol.options...)
				req := &userv1.GetUserRequest{UserId: create(b, client, newUserRequest(1)).GetId()}
				b.ReportAllocs()
				for b.Loop() {
					if _, err := client.GetUser(b.Context(), req); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// benchmarkUsers is the number of users that a stream carries.
const benchmarkUsers = 10_000

func BenchmarkListAll(b *testing.B) {
	running := servertest.Start(b, nil)
	fill(b, running.Store, benchmarkUsers)
	client := running.Client(b, grpcBinary.options...)
	b.ReportAllocs()
	for b.Loop() {
		users, _, err := list(b.Context(), client, &userv1.ListUsersRequest{All: true})
		if err != nil || len(users) != benchmarkUsers {
			b.Fatalf("%d users, error %v", len(users), err)
		}
	}
	reportUsers(b)
}

func BenchmarkImport(b *testing.B) {
	client := servertest.Start(b, nil).Client(b, grpcBinary.options...)
	rows := make([]*userv1.CreateUserRequest, benchmarkUsers)
	b.ReportAllocs()
	imported := 0
	for b.Loop() {
		for i := range rows {
			rows[i] = newUserRequest(imported + i)
		}
		imported += benchmarkUsers
		res, err := importRows(b.Context(), client, rows)
		if err != nil || res.GetSuccessCount() != benchmarkUsers {
			b.Fatalf("%d users, error %v", res.GetSuccessCount(), err)
		}
	}
	reportUsers(b)
}

// reportUsers says how many users a second the streams of a benchmark carry.
func reportUsers(b *testing.B) {
	b.ReportMetric(float64(b.N*benchmarkUsers)/b.Elapsed().Seconds(), "users/s")
}
