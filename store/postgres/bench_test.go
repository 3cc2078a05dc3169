package postgres_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/example/userd/store"
)

func someUsers(n int) []store.NewUser {
	users := make([]store.NewUser, n)
	for i := range users {
		users[i] = newUser()
		users[i].Roles = []string{"member", "reader"}
	}
	return users
}

func BenchmarkImport(b *testing.B) {
	for _, n := range []int{1000, 5000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, _ := openNew(b)
			for b.Loop() {
				b.StopTimer()
				users := someUsers(n)
				b.StartTimer()
				if _, err := s.Import(b.Context(), users); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

func BenchmarkCopyFrom(b *testing.B) {
	for _, n := range []int{10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			_, url := openNew(b)
			conn := connect(b, url)
			for b.Loop() {
				b.StopTimer()
				users := someUsers(n)
				b.StartTimer()
				_, err := conn.CopyFrom(b.Context(), pgx.Identifier{"users"}, []string{"id", "email", "display_name", "folded_name", "roles", "created_at", "updated_at", "version"},
					pgx.CopyFromSlice(n, func(i int) ([]any, error) {
						u := users[i]
						id, err := uuid.Parse(u.ID)
						return []any{[16]byte(id), u.Email, u.DisplayName, "ada", u.Roles, now, now, 1}, err
					}))
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

var now = time.Now()

func BenchmarkCreate(b *testing.B) {
	s, _ := openNew(b)
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := s.Create(b.Context(), newUser()); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkGet(b *testing.B) {
	s, _ := openNew(b)
	u := mustCreate(b, s)
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := s.Get(b.Context(), u.ID); err != nil {
				b.Error(err)
			}
		}
	})
}
