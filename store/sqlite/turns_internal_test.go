package sqlite

import (
	"context"
	"math"
	"net"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/example/userd/store"
)

// However many reads there are, what comes from sockets is looked at. One processor makes it
// plain.
func TestReadsLetOthersGoFirst(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	s, err := Open(t.Context(), Config{Path: filepath.Join(t.TempDir(), "users.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	user, err := s.Create(t.Context(), store.NewUser{ID: "018f2b6e-7d50-7c3a-9c4e-1f2a3b4c5d6e", Email: "ada@example.com", DisplayName: "Ada"})
	if err != nil {
		t.Fatal(err)
	}
	with := echoesBeside(t, s, user.ID)
	s.turns.processors = math.MaxInt32
	without := echoesBeside(t, s, user.ID)
	t.Logf("sockets were looked at %d times, and %d times where reads let nobody go first", with, without)
	if starved := without < 100; starved && with < 3*without {
		t.Error("want three times as often")
	}
}

// echoesBeside returns how often something comes back over eight sockets, in a second with very
// many reads.
func echoesBeside(t *testing.T, s *Store, id string) (echoes int64) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	var all sync.WaitGroup
	defer all.Wait()
	for range 64 {
		all.Go(func() {
			for ctx.Err() == nil {
				if _, err := s.Get(t.Context(), id); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var mu sync.Mutex
	for range 8 {
		near, far := connected(t, listener)
		all.Go(func() { echo(far) })
		all.Go(func() {
			defer near.Close()
			for message := []byte{0}; ctx.Err() == nil; {
				if _, err := near.Write(message); err != nil {
					return
				}
				if _, err := near.Read(message); err != nil {
					return
				}
				mu.Lock()
				echoes++
				mu.Unlock()
			}
		})
	}
	<-ctx.Done()
	mu.Lock()
	defer mu.Unlock()
	return echoes
}

// connected returns both ends of a connection.
func connected(t *testing.T, listener net.Listener) (near, far net.Conn) {
	t.Helper()
	near, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if far, err = listener.Accept(); err != nil {
		t.Fatal(err)
	}
	return near, far
}

func echo(conn net.Conn) {
	defer conn.Close()
	for message := []byte{0}; ; {
		if _, err := conn.Read(message); err != nil {
			return
		}
		if _, err := conn.Write(message); err != nil {
			return
		}
	}
}
