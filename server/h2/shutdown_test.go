package h2_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	"github.com/example/userd/server/h2"
)

// TestShutdownWaits stops a server while a request is under way, and while the peer
// opens another one that it could not know it should not.
func TestShutdownWaits(t *testing.T) {
	t.Parallel()
	entered, leave := make(chan struct{}, 2), make(chan struct{})
	srv := startEngine(t, h2.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		entered <- struct{}{}
		<-leave
		_, _ = io.WriteString(w, "done")
	})})
	p := greet(t, srv.addr)
	p.must(p.open(1, true, p.request("GET", "/")))
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- srv.Shutdown(t.Context()) }()
	ping := p.untilGoAway(1<<31 - 1)
	p.must(p.open(3, true, p.request("GET", "/"))) // Sent before the PING is answered.
	<-entered
	p.must(p.WritePing(true, ping))
	p.untilGoAway(3)
	p.must(p.open(5, true, p.request("GET", "/"))) // Too late: nobody answers.
	select {
	case err := <-stopped:
		t.Fatalf("did not wait: %v", err)
	default:
	}
	close(leave)
	ended := map[uint32]bool{}
	for {
		f, err := p.ReadFrame()
		if err != nil {
			break
		}
		if f, ok := f.(*http2.DataFrame); ok && f.StreamEnded() {
			ended[f.StreamID] = true
		}
	}
	if !ended[1] || !ended[3] || ended[5] {
		t.Errorf("streams that ended: %v", ended)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if err := srv.Shutdown(t.Context()); err != nil {
		t.Errorf("second shutdown: %v", err)
	}
}

// TestCallMeetsIdleTimeout opens a stream while the server ends the connection because
// nothing has come for long: the peer could not know.
func TestCallMeetsIdleTimeout(t *testing.T) {
	t.Parallel()
	srv := startEngine(t, h2.Config{
		Handler:     http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "done") }),
		IdleTimeout: 50 * time.Millisecond,
	})
	p := greet(t, srv.addr)
	ping := p.untilGoAway(1<<31 - 1)
	p.must(p.open(1, true, p.request("GET", "/")))
	p.must(p.WritePing(true, ping))
	for answered := false; !answered; {
		f, err := p.ReadFrame()
		p.must(err)
		if f, ok := f.(*http2.DataFrame); ok {
			answered = f.StreamEnded()
		}
	}
}

// TestCallMeetsAnswerToPing opens a stream right behind the answer to the PING of a drain, as Go's
// client does where it had numbered the stream before.
func TestCallMeetsAnswerToPing(t *testing.T) {
	t.Parallel()
	var conn atomic.Pointer[h2.Conn]
	srv := startEngine(t, h2.Config{
		Served:  func(_ net.Conn, c h2.Conn) { conn.Store(&c) },
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "done") }),
	})
	p := greet(t, srv.addr)
	p.must(p.open(1, true, p.request("GET", "/")))
	p.status(1)
	(*conn.Load()).GoAway()
	p.must(p.WritePing(true, p.untilGoAway(1<<31-1)))
	p.must(p.open(3, true, p.request("GET", "/")))
	if status := p.status(3); status != "200" {
		t.Errorf("status is %s", status)
	}
	p.untilGoAway(3)
}

// untilGoAway reads until a GOAWAY for a stream, and returns the last PING before
// or right after it.
func (p *peer) untilGoAway(last uint32) (ping [8]byte) {
	p.tb.Helper()
	for seen := false; ; {
		f, err := p.ReadFrame()
		p.must(err)
		switch f := f.(type) {
		case *http2.GoAwayFrame:
			if f.LastStreamID != last || f.ErrCode != http2.ErrCodeNo {
				p.tb.Fatalf("GOAWAY for %d with %v", f.LastStreamID, f.ErrCode)
			}
			if seen = true; last < 1<<31-1 {
				return ping
			}
		case *http2.PingFrame:
			if ping = f.Data; seen {
				return ping
			}
		}
	}
}

// TestShutdownDoesNotWaitForPings stops a server whose peer does not answer.
func TestShutdownDoesNotWaitForPings(t *testing.T) {
	t.Parallel()
	srv := startEngine(t, h2.Config{Handler: newEndless(t), PingTimeout: 100 * time.Millisecond})
	p := greet(t, srv.addr)
	p.alive()
	if err := srv.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestDrainWaitsForReaders has a peer read nothing for some seconds when its answer is under way
// on a connection that is to end.
func TestDrainWaitsForReaders(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const size = 50_000
		var conn h2.Conn
		p := startAlone(t, h2.Config{
			Served:  func(_ net.Conn, c h2.Conn) { conn = c },
			Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, size)) }),
		})
		p.preface()
		p.must(p.open(1, true, p.request("GET", "/")))
		synctest.Wait()
		conn.GoAway()
		time.Sleep(10 * time.Second)
		if body, reset := p.bodyOf(1); len(body) != size || reset {
			t.Errorf("%d bytes of the answer, reset %t", len(body), reset)
		}
	})
}

// TestDrainLooksForSilence has a peer fall silent on a connection that is to end when its
// stream has.
func TestDrainLooksForSilence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gone := make(chan struct{})
		var conn h2.Conn
		q := startQuiet(t, h2.Config{
			Served: func(_ net.Conn, c h2.Conn) { conn = c },
			Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				<-r.Context().Done()
				close(gone)
			}),
		})
		q.must(q.conn.SetDeadline(time.Time{}))
		q.must(q.open(1, true, q.request("GET", "/")))
		synctest.Wait()
		conn.GoAway()
		select {
		case <-gone:
		case <-time.After(time.Hour):
			t.Fatal("the connection is still there")
		}
	})
}

func TestShutdownGivesUp(t *testing.T) {
	t.Parallel()
	cancelled := make(chan struct{})
	srv := startEngine(t, h2.Config{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		close(cancelled)
	})})
	p := greet(t, srv.addr)
	p.must(openOne(p))
	p.alive()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := srv.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	<-cancelled
	p.goAway()
}

// TestShutdownUnderLoad stops servers while clients make requests. Each that has
// reached the handler must be answered.
func TestShutdownUnderLoad(t *testing.T) {
	t.Parallel()
	for range 5 {
		var taken, answered atomic.Int64
		first := make(chan struct{}, 1)
		srv := startEngine(t, h2.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			taken.Add(1)
			_, _ = io.Copy(w, r.Body)
		})})
		client := client(t)
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for {
					resp, err := client.Post(srv.url, "", strings.NewReader("hello"))
					if err != nil {
						return
					}
					body, err := io.ReadAll(resp.Body)
					if err != nil || string(body) != "hello" {
						t.Errorf("got %q, %v", body, err)
					}
					answered.Add(1)
					select {
					case first <- struct{}{}:
					default:
					}
				}
			})
		}
		<-first
		if err := srv.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		all.Wait()
		if taken.Load() != answered.Load() {
			t.Errorf("%d requests were taken and %d answered", taken.Load(), answered.Load())
		}
	}
}

func TestConnectionClose(t *testing.T) {
	t.Parallel()
	srv := startEngine(t, h2.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		_, _ = io.WriteString(w, "bye")
	})})
	p := greet(t, srv.addr)
	p.must(p.open(1, true, p.request("GET", "/")))
	ping := p.untilGoAway(1<<31 - 1)
	p.must(p.WritePing(true, ping))
	if code := p.goAway(); code != http2.ErrCodeNo {
		t.Errorf("GOAWAY with %v", code)
	}
}

// TestPeerGoesAway checks that streams of a peer that goes away are served.
func TestPeerGoesAway(t *testing.T) {
	t.Parallel()
	leave := make(chan struct{})
	srv := startEngine(t, h2.Config{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-leave })})
	p := greet(t, srv.addr)
	p.must(p.open(1, true, p.request("GET", "/")))
	p.must(p.WriteGoAway(0, http2.ErrCodeNo, nil))
	p.alive()
	close(leave)
	if status := p.status(1); status != "200" {
		t.Errorf("status %s", status)
	}
	if code := p.goAway(); code != http2.ErrCode(0xff) && code != http2.ErrCodeNo {
		t.Errorf("GOAWAY with %v", code)
	}
}

// TestPanicIsLogged checks that a panic is told to the log and to nobody else.
func TestPanicIsLogged(t *testing.T) {
	t.Parallel()
	lane := testLane(testRPC(), func([]byte) bool { panic("secret") })
	for name, begin := range map[string]func(p *peer) error{
		"handler": func(p *peer) error { return p.open(1, true, p.request("GET", "/")) },
		"reader": func(p *peer) error {
			if err := p.open(1, false, p.request("POST", procedure, "content-type", "application/grpc")); err != nil {
				return err
			}
			return p.WriteData(1, true, envelope(0, textMessage("hello")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			srv := startEngine(t, h2.Config{
				Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("secret") }),
				Direct:  lane,
				Logger:  slog.New(slog.NewTextHandler(&log, nil)),
			})
			p := greet(t, srv.addr)
			p.must(begin(p))
			if code := p.reset(1); code != http2.ErrCodeInternal {
				t.Errorf("reset with %v", code)
			}
			p.alive()
			if err := srv.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			if !strings.Contains(log.String(), "secret") || srv.Stats().Panics.Load() != 1 {
				t.Errorf("%d panics, log %q", srv.Stats().Panics.Load(), log.String())
			}
		})
	}
}

// panicking panics before there is a stream to reset.
type panicking struct{}

func (panicking) Route(context.Context, *h2.Head, h2.Route) h2.Route { panic("secret") }

// TestPanicEndsItsConnectionOnly checks that others are still served.
func TestPanicEndsItsConnectionOnly(t *testing.T) {
	t.Parallel()
	srv := startEngine(t, h2.Config{Direct: panicking{}})
	for range 2 {
		p := greet(t, srv.addr)
		p.must(p.open(1, true, p.request("GET", "/")))
		if code := p.goAway(); code != http2.ErrCodeInternal {
			t.Errorf("GOAWAY with %v", code)
		}
	}
	if got := srv.Stats().Panics.Load(); got != 2 {
		t.Errorf("%d panics counted", got)
	}
}

// TestServeConn serves a connection that is no socket, and one too late.
func TestServeConn(t *testing.T) {
	t.Parallel()
	srv := h2.New(h2.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "hello")
	})})
	ours, theirs := net.Pipe()
	served := make(chan struct{})
	go func() { srv.ServeConn(theirs); close(served) }()
	p := newPeer(t, ours)
	status := make(chan string, 1)
	go func() { status <- p.status(1) }()
	p.preface()
	p.must(p.open(1, true, p.request("GET", "/")))
	if got := <-status; got != "200" {
		t.Errorf("status %s", got)
	}
	_ = ours.Close()
	<-served
	if err := srv.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	late, _ := net.Pipe()
	srv.ServeConn(late)
	if _, err := late.Read(nil); err == nil {
		t.Error("a connection is served after the shutdown")
	}
}
