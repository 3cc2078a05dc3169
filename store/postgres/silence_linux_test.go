package postgres_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sys/unix"

	"github.com/example/userd/store"
	"github.com/example/userd/store/storetest"
)

// network is the way to a database. Of the connections that it has it can lose all that is
// sent, as one does to a machine without power.
type network struct {
	mu    sync.Mutex
	conns []*net.TCPConn
}

// over returns the URL of a database over a network.
func (n *network) over(t *testing.T, database string) string {
	t.Helper()
	parsed, err := pgx.ParseConfig(database)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			n.add(conn.(*net.TCPConn))
			running.Go(func() { join(conn, parsed.Host, parsed.Port) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		n.each(func(conn *net.TCPConn) { conn.Close() })
		running.Wait()
	})
	address := url.URL{Scheme: "postgres", User: url.User(parsed.User), Host: listener.Addr().String(), Path: "/" + parsed.Database}
	return address.String() + "?sslmode=disable"
}

// join carries what a connection and a database say to each other.
func join(conn net.Conn, host string, port uint16) {
	defer conn.Close()
	kind, address := pgconn.NetworkAddress(host, port)
	database, err := net.Dial(kind, address)
	if err != nil {
		return
	}
	defer database.Close()
	go func() {
		_, _ = io.Copy(database, conn)
		database.Close()
	}()
	_, _ = io.Copy(conn, database)
}

func (n *network) add(conn *net.TCPConn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns = append(n.conns, conn)
}

func (n *network) each(f func(*net.TCPConn)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, conn := range n.conns {
		f(conn)
	}
}

// cut loses what is sent on the connections there are: the kernel drops it unseen.
func (n *network) cut(t *testing.T) {
	t.Helper()
	nothing := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
	n.each(func(conn *net.TCPConn) {
		raw, err := conn.SyscallConn()
		if err != nil {
			return // It is closed.
		}
		var set error
		err = raw.Control(func(fd uintptr) {
			set = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &nothing[0]})
		})
		if err == nil && set != nil {
			t.Fatal(set)
		}
	})
}

// A machine that is gone says nothing, not even that it is. Calls without a deadline do not
// wait for it, and the lifelines are there for the next one at once.
func TestADatabaseWhoseMachineIsGone(t *testing.T) {
	t.Parallel()
	for name, call := range map[string]func(context.Context, store.Store, store.User) error{
		"read": func(ctx context.Context, s store.Store, user store.User) error {
			_, err := s.Get(ctx, user.ID)
			return err
		},
		"vital": func(ctx context.Context, s store.Store, _ store.User) error {
			_, err := s.Head(store.Vital(ctx))
			return err
		},
		"write": func(ctx context.Context, s store.Store, user store.User) error {
			_, err := s.Update(ctx, store.Update{ID: user.ID, DisplayName: new("New")})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var way network
			s := open(t, way.over(t, storetest.Postgres(t, migrate)))
			user := mustCreate(t, s)
			if err := call(t.Context(), s, user); err != nil {
				t.Fatal(err)
			}
			way.cut(t)
			done := make(chan error, 1)
			go func() { done <- call(context.WithoutCancel(t.Context()), s, user) }()
			select {
			case err := <-done:
				if err != nil && (name != "write" || !errors.Is(err, store.ErrUnavailable)) {
					t.Errorf("%s: %v", name, err)
				}
			case <-time.After(time.Minute):
				way.each(func(conn *net.TCPConn) { conn.Close() })
				t.Fatal("the call waits for a machine that is gone")
			}
			if err := s.Ping(t.Context()); err != nil {
				t.Errorf("ping of the machine that took over: %v", err)
			}
		})
	}
}
