package server_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/server"
	"github.com/example/userd/server/servertest"
)

// inMemory is a server on listeners in memory, with the clock of a test.
type inMemory struct {
	*server.Server
	service, admin *pipes
	served         chan error
}

// startInMemory starts a server of endlessStore, with a ShutdownDelay. It is to be called in
// a bubble of synctest, and its end awaited.
func startInMemory(t *testing.T, delay time.Duration) *inMemory {
	t.Helper()
	return startInMemoryWith(t, server.Config{ShutdownDelay: delay})
}

// startInMemoryWith is startInMemory with other settings.
func startInMemoryWith(t *testing.T, config server.Config) *inMemory {
	t.Helper()
	if config.Store == nil {
		config.Store = endlessStore{}
	}
	config.HTTP2, config.AllowedHosts = servertest.HTTP2Transport(), []string{"*"}
	running, err := server.New(config)
	if err != nil {
		t.Fatal(err)
	}
	s := &inMemory{running, newPipes(), newPipes(), make(chan error, 3)}
	go func() { s.served <- s.Serve(s.service) }()
	go func() { s.served <- s.ServeAdmin(s.admin) }()
	return s
}

// drain begins to stop the server, and returns when there is nothing left to do but to
// wait for its peers.
func (s *inMemory) drain(ctx context.Context) {
	go func() { s.served <- s.Shutdown(ctx) }()
	synctest.Wait()
}

// awaitEnd waits for all that the server runs.
func (s *inMemory) awaitEnd(t *testing.T) {
	t.Helper()
	for range cap(s.served) {
		if err := <-s.served; err != nil {
			t.Error(err)
		}
	}
}

// exchange makes a request over HTTP/1.1, and returns its answer, of which the body is
// read.
func exchange(t *testing.T, conn net.Conn, request string) *http.Response {
	t.Helper()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp
}

// checkLast checks that an answer is the last one of its connection, and says so.
func checkLast(t *testing.T, conn net.Conn, resp *http.Response, status int) {
	t.Helper()
	if resp.StatusCode != status || !resp.Close {
		t.Errorf("answer is %s with %v, want %d with Connection: close", resp.Status, resp.Header, status)
	}
	if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after its last answer the connection gives %v", err)
	}
}

const (
	listRequest  = "POST /user.v1.UserService/SearchUsers HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
	readyRequest = "GET /readyz HTTP/1.1\r\nHost: test\r\n\r\n"
)

// Whoever sends a request on a connection that was there when the drain began gets an
// answer.
func TestDrainAnswersOpenConnections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := startInMemory(t, 0)
		idle, fresh, fresh2, forgotten := s.service.dial(), s.service.dial(), s.service.dial(), s.service.dial()
		scraper := s.admin.dial()
		if resp := exchange(t, idle, listRequest); resp.StatusCode != http.StatusOK || resp.Close {
			t.Fatalf("answer before the drain is %s, last %t", resp.Status, resp.Close)
		}
		if resp := exchange(t, scraper, readyRequest); resp.StatusCode != http.StatusOK || resp.Close {
			t.Fatalf("ready before the drain is %s, last %t", resp.Status, resp.Close)
		}

		s.drain(t.Context())
		checkLast(t, idle, exchange(t, idle, listRequest), http.StatusOK)
		checkLast(t, fresh, exchange(t, fresh, listRequest), http.StatusOK)
		raw, _ := newRawConn(t, fresh2, "test")
		raw.call(1, "/user.v1.UserService/SearchUsers")
		raw.must(raw.framer.WriteData(1, true, envelope(t, &userv1.SearchUsersRequest{})))
		awaitFrame(raw, func(frame *http2.DataFrame) bool { return frame.StreamID == 1 })
		checkLast(t, scraper, exchange(t, scraper, readyRequest), http.StatusServiceUnavailable)
		probe := s.admin.dial()
		checkLast(t, probe, exchange(t, probe, readyRequest), http.StatusServiceUnavailable)

		start := time.Now()
		go func() { _, _ = io.Copy(io.Discard, fresh2) }()
		if _, err := forgotten.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("a silent connection gives %v", err)
		}
		if took := time.Since(start); took > 6*time.Second { // net/http gives a first request 5 seconds.
			t.Errorf("a silent connection holds the drain for %v", took)
		}
		fresh2.Close()
		s.awaitEnd(t)
	})
}

// search calls SearchUsers on a stream that is new, and awaits its answer.
func (c *rawConn) search(stream uint32) {
	c.tb.Helper()
	c.call(stream, "/user.v1.UserService/SearchUsers")
	c.must(c.framer.WriteData(stream, true, envelope(c.tb, &userv1.SearchUsersRequest{})))
	awaitFrame(c, func(frame *http2.DataFrame) bool { return frame.StreamID == stream })
	awaitFrame(c, func(frame *http2.HeadersFrame) bool { return frame.StreamID == stream && frame.StreamEnded() })
}

// awaitEnd returns when the server has closed the connection, whose peer is alive.
func (c *rawConn) awaitEnd() {
	c.tb.Helper()
	for {
		frame, err := c.framer.ReadFrame()
		if err != nil {
			_ = c.conn.Close()
			return
		}
		if ping, ok := frame.(*http2.PingFrame); ok && !ping.IsAck() {
			c.must(c.framer.WritePing(true, ping.Data))
		}
	}
}

// During its delay a server that stops is not ready, and serves those who are there and
// those who come. Whoever was there is told to go.
func TestShutdownDelay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const delay = 5 * time.Second
		s := startInMemory(t, delay)
		idle, old := s.service.dial(), s.service.dial()
		exchange(t, idle, listRequest)
		raw, _ := newRawConn(t, old, "test")
		raw.search(1)

		start := time.Now()
		s.drain(t.Context())
		for _, listener := range []*pipes{s.admin, s.service} {
			probe := listener.dial()
			checkLast(t, probe, exchange(t, probe, readyRequest), http.StatusServiceUnavailable)
		}
		checkLast(t, idle, exchange(t, idle, listRequest), http.StatusOK)
		raw.call(3, "/user.v1.UserService/SearchUsers") // It was on its way.
		raw.must(raw.framer.WriteData(3, true, envelope(t, &userv1.SearchUsersRequest{})))
		told, answered := false, false
		awaitFrame(raw, func(frame http2.Frame) bool {
			_, away := frame.(*http2.GoAwayFrame)
			told = told || away
			answered = answered || frame.Header().StreamID == 3 && frame.Header().Flags.Has(http2.FlagHeadersEndStream)
			return told && answered
		})
		old.Close()

		time.Sleep(delay - time.Second)
		late, late2 := s.service.dial(), s.service.dial()
		checkLast(t, late, exchange(t, late, listRequest), http.StatusOK)
		raw, _ = newRawConn(t, late2, "test")
		raw.search(1)
		probe := s.admin.dial()
		checkLast(t, probe, exchange(t, probe, readyRequest), http.StatusServiceUnavailable)
		if took := time.Since(start); took != delay-time.Second {
			t.Errorf("answers took %v", took)
		}
		raw.awaitEnd()
		s.awaitEnd(t)
		if took := time.Since(start); took < delay || took > delay+2*time.Second {
			t.Errorf("the server has stopped after %v", took)
		}
	})
}

// Who waits no longer than a deadline does not wait for the delay either.
func TestShutdownDelayEndsWithTheDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := startInMemory(t, time.Hour)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		s.drain(ctx)
		<-ctx.Done()
		for range cap(s.served) {
			if err := <-s.served; err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		}
		if took := time.Since(start); took > time.Minute {
			t.Errorf("it took %v", took)
		}
	})
}

// With nobody left, a drain ends at once.
func TestDrainWithoutConnections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := startInMemory(t, 0)
		synctest.Wait()
		start := time.Now()
		s.drain(t.Context())
		s.awaitEnd(t)
		if took := time.Since(start); took > 0 {
			t.Errorf("it took %v", took)
		}
	})
}

// A body that does not come does not keep a connection of the admin listener.
func TestSlowBodyForAdmin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := startInMemory(t, 0)
		conn := s.admin.dial()
		start := time.Now()
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			_, err := fmt.Fprint(conn, "POST /readyz HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\n")
			for ; err == nil; _, err = conn.Write([]byte("x")) {
				time.Sleep(time.Second)
			}
		}()
		_, _ = io.Copy(io.Discard, conn)
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("the connection lives for %v", took)
		}
		conn.Close()
		<-gone
		s.drain(t.Context())
		s.awaitEnd(t)
	})
}
