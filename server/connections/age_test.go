package connections

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var errTooOld = errors.New("too old")

// newAging returns a limiter whose connections are old after an age.
func newAging(ctx context.Context, age time.Duration) *Limiter {
	return New(Config{Most: 1000, MaxAge: age, Running: ctx, TooOld: errTooOld, Logger: slog.New(slog.DiscardHandler)})
}

func accept(t *testing.T, c *Limiter) net.Conn {
	t.Helper()
	conn, err := c.Listen(&callers{waiting: []*caller{{address: "10.0.0.1"}}}).Accept()
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// Connections that came together go one after the other, each within a tenth of the age, whether
// it has come to be known by then who serves them or not.
func TestOldConnectionsGo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const age, many = time.Hour, 200
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		c, start := newAging(ctx, age), time.Now()
		var mu sync.Mutex
		ages := make(map[time.Duration]bool)
		times := func() int {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			return len(ages)
		}
		for range many {
			conn, served := accept(t, c), new(http2Conn)
			c.Served(conn, served)
			requests := ConnContext(t.Context(), conn)
			context.AfterFunc(Running(requests), func() {
				if !served.gone || !IsOld(requests) || !errors.Is(context.Cause(Running(requests)), errTooOld) {
					t.Errorf("told to go: %t, old: %t, because of %v", served.gone, IsOld(requests), context.Cause(Running(requests)))
				}
			})
			go func() {
				<-Running(requests).Done()
				mu.Lock()
				defer mu.Unlock()
				ages[time.Since(start)] = true
			}()
		}
		late := accept(t, c)
		time.Sleep(age * 89 / 100)
		if n := times(); n > 0 {
			t.Errorf("connections go at %d times that are too early", n)
		}
		time.Sleep(age * 22 / 100)
		if n := times(); n < many/2 {
			t.Errorf("%d connections go at %d times", many, n)
		}
		served := new(http2Conn)
		c.Served(late, served)
		if !served.gone {
			t.Error("a connection that was old before somebody served it is not told to go")
		}
	})
}

// A connection that has ended leaves nothing that waits for its age.
func TestClosedConnectionsDoNotAge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newAging(t.Context(), time.Hour)
		conn, served := accept(t, c), new(http2Conn)
		c.Served(conn, served)
		requests := ConnContext(t.Context(), conn)
		_ = conn.Close()
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if served.gone || IsOld(requests) {
			t.Error("a connection that is closed is told to go")
		}
		if Running(requests).Err() == nil {
			t.Error("its calls still run")
		}
	})
}

// Without a limit connections stay as they are.
func TestConnectionsOfAnyAge(t *testing.T) {
	t.Parallel()
	conn := accept(t, New(Config{Most: 1, Logger: slog.New(slog.DiscardHandler)}))
	requests := ConnContext(t.Context(), conn)
	if IsOld(requests) || Running(requests) != nil || IsOld(t.Context()) || Running(t.Context()) != nil {
		t.Error("a connection ages that need not")
	}
	_ = conn.Close()
}
