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
// what sockets have brought every 10 ms then; it is to do so after each search or two.
func TestSearchesLetSocketsBeRead(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "users.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	members, _ := manyMembers()
	importAll(t, s, members[:1000])
	there := echo(t)
	ctx, stop := context.WithCancel(t.Context())
	var searches atomic.Int64
	var searching sync.WaitGroup
	for range 2 {
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
	const rounds = 100
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
	if n := searches.Load(); n > 6*rounds {
		t.Errorf("there were %d searches within %d round trips", n, rounds)
	}
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
