package h2_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	"github.com/example/userd/server/h2"
)

// startAlone serves one connection until the test ends, which runs in a bubble of its own.
func startAlone(t *testing.T, config h2.Config) *peer {
	t.Helper()
	return connectAlone(t, h2.New(config))
}

// connectAlone is startAlone for a server whose counters are looked at.
func connectAlone(t *testing.T, srv *h2.Server) *peer {
	t.Helper()
	ours, theirs := net.Pipe()
	served := make(chan struct{})
	go func() { srv.ServeConn(theirs); close(served) }()
	t.Cleanup(func() {
		_ = ours.Close()
		<-served
		if err := srv.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return newPeer(t, ours)
}

// quiet is a peer that is alone with a server. It takes all that comes, and says nothing
// that its test does not have it say.
type quiet struct {
	*peer
	window int // Bytes that the server takes on all streams.
	data   map[uint32]int
	ended  map[uint32]bool
	reset  map[uint32]http2.ErrCode
}

// startQuiet is startAlone for such a peer. The Wait of the bubble returns when all that was
// said has been answered.
func startQuiet(t *testing.T, config h2.Config, settings ...http2.Setting) *quiet {
	t.Helper()
	q := &quiet{startAlone(t, config), 1<<16 - 1, make(map[uint32]int), make(map[uint32]bool), make(map[uint32]http2.ErrCode)}
	read := make(chan struct{})
	go func() { q.read(); close(read) }()
	t.Cleanup(func() {
		_ = q.conn.Close()
		<-read
	})
	q.preface(settings...)
	synctest.Wait()
	return q
}

// read reads until the connection ends.
func (q *quiet) read() {
	for {
		f, err := q.ReadFrame()
		if err != nil {
			return
		}
		switch f := f.(type) {
		case *http2.DataFrame:
			q.data[f.StreamID] += len(f.Data())
			q.ended[f.StreamID] = f.StreamEnded()
		case *http2.HeadersFrame:
			q.ended[f.StreamID] = f.StreamEnded()
		case *http2.RSTStreamFrame:
			q.reset[f.StreamID] = f.ErrCode
		case *http2.WindowUpdateFrame:
			if f.StreamID == 0 {
				q.window += int(f.Increment)
			}
		}
	}
}

// send sends DATA, for which there must be room.
func (q *quiet) send(id uint32, end bool, size int) {
	q.tb.Helper()
	synctest.Wait()
	if size > q.window {
		q.tb.Fatalf("stream %d has no room for %d bytes: the server takes %d", id, size, q.window)
	}
	q.window -= size
	q.must(q.WriteData(id, end, make([]byte, size)))
}

// TestFullWindowsDelayNoOther has a stream wait for more room than its window has left, and
// another one send meanwhile.
func TestFullWindowsDelayNoOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const window = 1000
		next := map[string]chan struct{}{"/full": make(chan struct{}), "/other": make(chan struct{})}
		q := startQuiet(t, h2.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			write := func(n int) {
				_, _ = w.Write(make([]byte, n))
				_ = http.NewResponseController(w).Flush()
			}
			first := 1
			if r.URL.Path == "/full" {
				first = window - 10
			}
			write(first)
			<-next[r.URL.Path]
			write(100)
		})}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: window})
		q.must(q.open(1, true, q.request("GET", "/full")))
		q.must(q.open(3, true, q.request("GET", "/other")))
		synctest.Wait()
		close(next["/full"])
		synctest.Wait()
		close(next["/other"])
		synctest.Wait()
		if q.data[1] != window-10 || q.data[3] != 101 || !q.ended[3] {
			t.Errorf("the full stream has sent %d bytes and the other one %d", q.data[1], q.data[3])
		}
		q.must(q.WriteWindowUpdate(1, window))
		synctest.Wait()
		if q.data[1] != window+90 {
			t.Errorf("with room the full stream has sent %d bytes", q.data[1])
		}
	})
}

// TestWindowsThatShrink has a peer make its windows smaller when it has less to give back than it
// ever does at a time.
func TestWindowsThatShrink(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const window = 100_000
		next := make(chan struct{})
		q := startQuiet(t, h2.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(make([]byte, window/2-1000))
			_ = http.NewResponseController(w).Flush()
			<-next
			_, _ = w.Write(make([]byte, 20_000))
		})}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: window})
		q.must(q.open(1, true, q.request("GET", "/")))
		synctest.Wait()
		q.must(q.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window - 40_000}))
		synctest.Wait()
		close(next)
		synctest.Wait()
		if left := window - 40_000 - q.data[1]; left != 0 {
			t.Errorf("the stream waits with a window of %d bytes", left)
		}
	})
}

// slowCalls answers every request when it may leave, whatever has become of its caller.
type slowCalls struct {
	pathEcho
	leave chan struct{}
}

func (s slowCalls) Route(context.Context, *h2.Head, h2.Route) h2.Route { return s }

func (s slowCalls) Open(string, []byte) h2.Call { return s }

func (slowCalls) Ready(context.Context) bool { return false }

func (s slowCalls) Serve(ctx context.Context) *h2.Answer {
	<-s.leave
	return s.pathEcho.Serve(ctx)
}

// TestCancelledCallsGiveBackTheirRoom cancels calls that have come and wait for a place.
func TestCancelledCallsGiveBackTheirRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const window = 128 << 10
		slow := slowCalls{leave: make(chan struct{})}
		defer close(slow.leave)
		q := startQuiet(t, h2.Config{Direct: slow, MaxConcurrentStreams: 1, ConnWindow: window})
		for id := uint32(1); id < 40; id += 2 {
			q.must(q.open(id, false, q.request("POST", "/")))
			q.send(id, true, 16_000)
			q.must(q.WriteRSTStream(id, http2.ErrCodeCancel))
		}
	})
}

// waitingCalls have long answers, and keep what ends the wait for their peer to read them.
type waitingCalls struct {
	pathEcho
	cuts chan func()
}

func (w waitingCalls) Route(context.Context, *h2.Head, h2.Route) h2.Route { return w }

func (w waitingCalls) Open(string, []byte) h2.Call { return w }

func (w waitingCalls) Wait(cut func()) *h2.Answer {
	w.cuts <- cut
	return nil
}

// TestAnswersThatAreCut has an answer wait for the peer, and gives it up. One whose stream has
// gone is nothing to cut.
func TestAnswersThatAreCut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		calls := waitingCalls{pathEcho{strings.Repeat("x", 1<<20)}, make(chan func(), 2)}
		q := startQuiet(t, h2.Config{Direct: calls})
		for id := uint32(1); id <= 3; id += 2 {
			q.must(q.open(id, true, q.request("POST", "/")))
			synctest.Wait()
		}
		cut, late := <-calls.cuts, <-calls.cuts
		cut()
		synctest.Wait()
		if code, reset := q.reset[1]; !reset || code != http2.ErrCodeEnhanceYourCalm {
			t.Errorf("the one that was cut: reset %t, %v", reset, code)
		}
		q.must(q.WriteRSTStream(3, http2.ErrCodeCancel))
		synctest.Wait()
		late()
		synctest.Wait()
		if _, reset := q.reset[3]; reset {
			t.Error("one that was cancelled is reset")
		}
	})
}

// panickingCalls panic when they may leave.
type panickingCalls struct{ slowCalls }

func (p panickingCalls) Route(context.Context, *h2.Head, h2.Route) h2.Route { return p }

func (p panickingCalls) Open(string, []byte) h2.Call { return p }

func (p panickingCalls) Serve(context.Context) *h2.Answer {
	<-p.leave
	panic(http.ErrAbortHandler)
}

// TestCallsThatPanicGiveBackTheirRoom has calls panic that were cancelled before.
func TestCallsThatPanicGiveBackTheirRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const window = 128 << 10
		slow := slowCalls{leave: make(chan struct{})}
		q := startQuiet(t, h2.Config{Direct: panickingCalls{slow}, ConnWindow: window})
		for id := uint32(1); id < 40; id += 2 {
			q.must(q.open(id, false, q.request("POST", "/")))
			q.send(id, true, 16_000)
			synctest.Wait() // It has begun.
			q.must(q.WriteRSTStream(id, http2.ErrCodeCancel))
			slow.leave <- struct{}{}
			synctest.Wait()
		}
	})
}

// TestLargeCallsOfOneConnection sends the first part of as many calls as a connection may
// have, and then the rest of each, as clients do that let calls take turns.
func TestLargeCallsOfOneConnection(t *testing.T) {
	t.Parallel()
	for _, calls := range []int{100, 1000} {
		synctest.Test(t, func(t *testing.T) { sendByTurns(t, calls) })
	}
}

func sendByTurns(t *testing.T, calls int) {
	t.Helper()
	const part = 16 << 10
	last := uint32(2*calls + 1)
	q := startQuiet(t, h2.Config{MaxConcurrentStreams: calls, Direct: pathEcho{}, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	})})
	q.must(q.open(1, false, q.request("POST", "/handler")))
	for range 31 { // A little less than what the server gives back at a time.
		q.send(1, false, part)
	}
	q.send(1, true, 0)
	for id := uint32(3); id <= last; id += 2 {
		q.must(q.open(id, false, q.request("POST", "/call")))
		q.send(id, false, part)
	}
	for id := uint32(3); id <= last; id += 2 {
		q.send(id, true, 100)
	}
	synctest.Wait()
	for id := uint32(1); id <= last; id += 2 {
		if !q.ended[id] {
			t.Errorf("call %d is not answered", id)
		}
	}
}

// TestBeginningsOfRequestsAreSmall has many requests begin, with a byte each.
func TestBeginningsOfRequestsAreSmall(t *testing.T) { // Alone: it looks at the memory of the process.
	const streams, most = 1000, 8 << 10
	heap := func() int64 {
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return int64(stats.HeapAlloc)
	}
	synctest.Test(t, func(t *testing.T) {
		q := startQuiet(t, h2.Config{MaxConcurrentStreams: streams, Direct: pathEcho{}})
		before := heap()
		for id := uint32(1); id < 2*streams; id += 2 {
			q.must(q.open(id, false, q.request("POST", "/")))
			q.send(id, false, 1)
		}
		synctest.Wait()
		if each := (heap() - before) / streams; each > most {
			t.Errorf("the beginning of a request takes %d bytes, want at most %d", each, most)
		}
	})
}

// TestBodiesInParts sends bodies in parts of all sizes around those of chunks.
func TestBodiesInParts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var got bytes.Buffer
		q := startQuiet(t, h2.Config{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			time.Sleep(time.Second) // All that is sent is there.
			_, _ = io.Copy(&got, iotest.OneByteReader(io.LimitReader(r.Body, 100)))
			time.Sleep(time.Second)
			_, _ = io.Copy(&got, r.Body)
		})})
		var want bytes.Buffer
		q.must(q.open(1, false, q.request("POST", "/")))
		send := func(end bool, sizes ...int) {
			for i, size := range sizes {
				part := bytes.Repeat([]byte{byte('a' + want.Len()%26)}, size)
				want.Write(part)
				q.must(q.WriteData(1, end && i == len(sizes)-1, part))
			}
		}
		send(false, 1, 200, 300)
		time.Sleep(1500 * time.Millisecond) // A part is read.
		send(true, 11, 1, 511, 512, 513, 16_000, 384, 1, 16_384)
		time.Sleep(time.Second)
		synctest.Wait()
		if !bytes.Equal(got.Bytes(), want.Bytes()) {
			t.Errorf("%d bytes were received of %d, or others", got.Len(), want.Len())
		}
	})
}

// TestDataOnItsWay sends DATA in small frames on a stream that the server has ended, as a peer
// does that does not know yet.
func TestDataOnItsWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const streams, messages, size = 3, 5000, 100 // Less on each than the server takes.
		q := startQuiet(t, h2.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
		})})
		for id := uint32(1); id < 2*streams; id += 2 {
			q.must(q.open(id, false, q.request("POST", "/")))
			for range messages {
				q.send(id, false, size)
			}
		}
		q.must(q.open(2*streams+1, true, q.request("GET", "/")))
		synctest.Wait()
		if !q.ended[2*streams+1] {
			t.Error("the connection has ended")
		}
	})
}

// longHeader answers at once, with more header than body.
type longHeader struct{ pathEcho }

func (l longHeader) Route(context.Context, *h2.Head, h2.Route) h2.Route { return l }

func (l longHeader) Open(string, []byte) h2.Call { return l }

func (longHeader) Serve(context.Context) *h2.Answer {
	a := &h2.Answer{Body: []byte("hello")}
	a.Header.SetStatus("200")
	a.Header.Add("etag", strings.Repeat("x", 3000))
	return a
}

// TestManyAnswersOfOneRead makes many requests in one write, whose answers are more than what
// may wait to be written.
func TestManyAnswersOfOneRead(t *testing.T) {
	t.Parallel()
	srv := startEngine(t, h2.Config{Direct: longHeader{}})
	p := greet(t, srv.addr)
	var requests bytes.Buffer
	framer := http2.NewFramer(&requests, nil)
	for id := uint32(1); id < 200; id += 2 {
		p.must(framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: p.request("GET", "/"), EndStream: true, EndHeaders: true}))
	}
	_, err := p.conn.Write(requests.Bytes())
	p.must(err)
	for answered := 0; answered < 100; {
		f, err := p.ReadFrame()
		p.must(err)
		if f, ok := f.(*http2.DataFrame); ok && f.StreamEnded() {
			answered++
		}
	}
}
