package sqlite_test

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/example/userd/store"
	"github.com/example/userd/store/sqlite"
)

// TestSearchesLetSocketsBeRead has searches keep one core busy. The scheduler would look for
// what sockets have brought every 10 ms then; it is to do so after each short search or two, and
// several times in a long one.
func TestSearchesLetSocketsBeRead(t *testing.T) {
	for _, test := range []struct {
		name           string
		users, callers int
		most           float64 // Searches in a round trip.
	}{{"short", 1_000, 2, 6}, {"long", 10_000, 1, 0.5}} {
		t.Run(test.name, func(t *testing.T) {
			const rounds = 100
			if n := searchesWithin(t, rounds, test.users, test.callers); float64(n) > test.most*rounds {
				t.Errorf("there were %d searches within %d round trips", n, rounds)
			}
		})
	}
}

// searchesWithin is how many searches in vain of so many users so many callers make on one core
// within some round trips.
func searchesWithin(t *testing.T, rounds, users, callers int) int64 {
	t.Helper()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "users.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	members, _ := manyMembers()
	importAll(t, s, members[:users])
	there := echo(t)
	ctx, stop := context.WithCancel(t.Context())
	var searches atomic.Int64
	var searching sync.WaitGroup
	for range callers {
		searching.Go(func() {
			for ctx.Err() == nil {
				if _, err := s.List(context.Background(), store.Query{NameContains: "xx", Limit: 10}); err != nil {
					t.Error(err)
					return
				}
				searches.Add(1)
			}
		})
	}
	for range rounds {
		if _, err := there.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(there, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	searching.Wait()
	return searches.Load()
}

// echo is a connection to somebody who sends back all that comes.
func echo(t *testing.T) net.Conn {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		if conn, err := listener.Accept(); err == nil {
			_, _ = io.Copy(conn, conn) // Until the other side closes it.
			conn.Close()
		}
	}()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}
