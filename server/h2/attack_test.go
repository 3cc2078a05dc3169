package h2_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/example/userd/server/h2"
)

// endless is a handler whose goroutines do not end before the test, and counts them.
type endless struct {
	now, most atomic.Int64
	test      context.Context
}

func newEndless(tb testing.TB) *endless { return &endless{test: tb.Context()} }

func (e *endless) ServeHTTP(http.ResponseWriter, *http.Request) {
	now := e.now.Add(1)
	defer e.now.Add(-1)
	for most := e.most.Load(); now > most && !e.most.CompareAndSwap(most, now); most = e.most.Load() {
	}
	<-e.test.Done()
}

// floods are frames that make work and bring nothing. Each is sent until the
// connection ends, which must be with ENHANCE_YOUR_CALM.
var floods = map[string]struct {
	prepare func(p *peer) error
	flood   func(p *peer, i uint32) error
}{
	"rapid reset": {nil, func(p *peer, i uint32) error {
		if err := p.open(2*i+1, true, p.request("GET", "/")); err != nil {
			return err
		}
		return p.WriteRSTStream(2*i+1, http2.ErrCodeCancel)
	}},
	"made you reset by WINDOW_UPDATE of 0": {nil, func(p *peer, i uint32) error {
		if err := p.open(2*i+1, false, p.request("GET", "/")); err != nil {
			return err
		}
		return p.WriteWindowUpdate(2*i+1, 0)
	}},
	"made you reset by window overflow": {nil, func(p *peer, i uint32) error {
		if err := p.open(2*i+1, false, p.request("GET", "/")); err != nil {
			return err
		}
		return p.WriteWindowUpdate(2*i+1, 1<<31-1)
	}},
	"made you reset by DATA after the end": {nil, func(p *peer, i uint32) error {
		if err := p.open(2*i+1, true, p.request("GET", "/")); err != nil {
			return err
		}
		return p.WriteData(2*i+1, true, nil)
	}},
	"made you reset by HEADERS after the end": {nil, func(p *peer, i uint32) error {
		if err := p.open(2*i+1, true, p.request("GET", "/")); err != nil {
			return err
		}
		return p.open(2*i+1, true, p.request("GET", "/"))
	}},
	"made you reset by content-length": {nil, func(p *peer, i uint32) error {
		if err := p.open(2*i+1, false, p.request("GET", "/", "content-length", "1")); err != nil {
			return err
		}
		return p.WriteData(2*i+1, true, []byte("two"))
	}},
	"made you reset by priority": {nil, func(p *peer, i uint32) error {
		if err := p.open(2*i+1, false, p.request("GET", "/")); err != nil {
			return err
		}
		return p.WritePriority(2*i+1, http2.PriorityParam{StreamDep: 2*i + 1})
	}},
	"malformed requests": {nil, func(p *peer, i uint32) error {
		return p.open(2*i+1, true, p.fields(":method", "GET"))
	}},
	"too many streams": {nil, func(p *peer, i uint32) error {
		return p.open(2*i+1, true, p.request("GET", "/"))
	}},
	"SETTINGS": {nil, func(p *peer, _ uint32) error { return p.WriteSettings() }},
	"SETTINGS that move windows": {nil, func(p *peer, i uint32) error {
		return p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: i % 100})
	}},
	"SETTINGS acknowledgements": {nil, func(p *peer, _ uint32) error { return p.WriteSettingsAck() }},
	"PING":                      {nil, func(p *peer, _ uint32) error { return p.WritePing(false, [8]byte{}) }},
	"PING answers":              {nil, func(p *peer, _ uint32) error { return p.WritePing(true, [8]byte{}) }},
	"empty DATA": {openOne, func(p *peer, _ uint32) error {
		return p.WriteData(1, false, nil)
	}},
	"padding": {openOne, func(p *peer, _ uint32) error {
		return p.WriteDataPadded(1, false, nil, make([]byte, 10))
	}},
	"WINDOW_UPDATE": {nil, func(p *peer, _ uint32) error { return p.WriteWindowUpdate(0, 1) }},
	"WINDOW_UPDATE of a stream": {openOne, func(p *peer, _ uint32) error {
		return p.WriteWindowUpdate(1, 1)
	}},
	"WINDOW_UPDATE of a closed stream": {func(p *peer) error {
		if err := openOne(p); err != nil {
			return err
		}
		return p.WriteRSTStream(1, http2.ErrCodeCancel)
	}, func(p *peer, _ uint32) error { return p.WriteWindowUpdate(1, 1) }},
	"RST_STREAM": {openOne, func(p *peer, _ uint32) error {
		return p.WriteRSTStream(1, http2.ErrCodeCancel)
	}},
	"RST_STREAM of idle streams": {openOne, func(p *peer, i uint32) error {
		return p.WriteRSTStream(3+2*i, http2.ErrCodeCancel)
	}},
	"DATA on a closed stream": {func(p *peer) error {
		if err := openOne(p); err != nil {
			return err
		}
		return p.WriteRSTStream(1, http2.ErrCodeCancel)
	}, func(p *peer, _ uint32) error { return p.WriteData(1, false, []byte("x")) }},
	"PRIORITY": {nil, func(p *peer, _ uint32) error {
		return p.WritePriority(3, http2.PriorityParam{StreamDep: 1})
	}},
	"unknown frames": {nil, func(p *peer, _ uint32) error { return p.WriteRawFrame(0xbe, 0, 0, nil) }},
	"empty CONTINUATION": {openHalf, func(p *peer, _ uint32) error {
		return p.WriteContinuation(1, false, nil)
	}},
	"CONTINUATION": {openHalf, func(p *peer, _ uint32) error {
		return p.WriteContinuation(1, false, p.fields("x-more", strings.Repeat("x", 1000)))
	}},
}

func openOne(p *peer) error { return p.open(1, false, p.request("POST", "/")) }

func openHalf(p *peer) error {
	return p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.request("GET", "/")})
}

// floodLimit is far more frames than the engine can let pass.
const floodLimit = 200_000

// TestFloods floods a server, and checks that it closes the connection, spends next
// to nothing on it, and serves others meanwhile.
func TestFloods(t *testing.T) { // Alone: it measures.
	for name, attack := range floods {
		t.Run(name, func(t *testing.T) {
			handler := newEndless(t)
			mux := http.NewServeMux()
			mux.Handle("/", handler)
			mux.HandleFunc("/well-behaved", func(http.ResponseWriter, *http.Request) {})
			srv := startEngine(t, h2.Config{Handler: mux})
			other := client(t)
			behave(t, other, srv.url)
			heap, cpu := usage(t)

			p := greet(t, srv.addr)
			if attack.prepare != nil {
				p.must(attack.prepare(p))
			}
			code := make(chan http2.ErrCode, 1)
			go func() { code <- p.goAway() }()
			attacker := onOneThread(t, func() {
				for i := uint32(0); i < floodLimit; i++ {
					if attack.flood(p, i) != nil {
						break
					}
				}
			})
			if got := <-code; got != http2.ErrCodeEnhanceYourCalm {
				t.Errorf("GOAWAY with %v", got)
			}
			behave(t, other, srv.url)
			heapAfter, cpuAfter := usage(t)
			if grown := heapAfter - heap; grown > 16<<20 {
				t.Errorf("grew by %d MiB", grown>>20)
			}
			// The machine may be slow, for the attacker too.
			if cost := cpuAfter - cpu - attacker; cost > max(500*time.Millisecond, 2*attacker) && !raceEnabled {
				t.Errorf("spent %v, and the attacker %v", cost, attacker)
			}
			if most := handler.most.Load(); most > 100 {
				t.Errorf("%d handlers at a time", most)
			}
			if got := srv.Stats().Floods.Load(); got != 1 {
				t.Errorf("%d floods counted", got)
			}
		})
	}
}

// behave makes a request as it should be.
func behave(t *testing.T, client *http.Client, url string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	resp, err := client.Do(newRequest(http.MethodGet, url+"/well-behaved", nil).WithContext(ctx))
	if err != nil {
		t.Fatalf("a well-behaved client notices: %v", err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("a well-behaved client gets %s", resp.Status)
	}
}

// usage returns the heap in use and the processor time spent.
func usage(tb testing.TB) (heap int64, cpu time.Duration) {
	tb.Helper()
	runtime.GC() // Pools keep what they have for one more.
	runtime.GC()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	return int64(memory.HeapInuse + memory.StackInuse), cpuTime(tb)
}

// checkHeap checks that each of so many takes 64 KiB of the heap at most, which was so large
// before they came.
func checkHeap(tb testing.TB, before, count int64, each string) {
	tb.Helper()
	after, _ := usage(tb)
	taken := (after - before) / count
	tb.Logf("%d KiB a %s", taken>>10, each)
	if taken > 64<<10 && !raceEnabled {
		tb.Errorf("%d KiB a %s", taken>>10, each)
	}
}

func TestTooManyStreamsAreRefused(t *testing.T) {
	t.Parallel()
	srv := startEngine(t, h2.Config{Handler: newEndless(t), MaxConcurrentStreams: 3})
	p := greet(t, srv.addr)
	for id := uint32(1); id <= 7; id += 2 {
		p.must(p.open(id, true, p.request("GET", "/")))
	}
	if code := p.reset(7); code != http2.ErrCodeRefusedStream {
		t.Errorf("fourth stream is reset with %v", code)
	}
	p.alive()
	if got := srv.Stats().RefusedStreams.Load(); got != 1 {
		t.Errorf("%d refused streams counted", got)
	}
}

// TestCancelledHandlersKeepTheirPlace checks that streams opened in place of
// cancelled ones wait until the handlers of those have returned.
func TestCancelledHandlersKeepTheirPlace(t *testing.T) {
	t.Parallel()
	entered, leave := make(chan string, 10), make(chan struct{})
	srv := startEngine(t, h2.Config{MaxConcurrentStreams: 2, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		entered <- r.URL.Path
		<-leave
	})})
	p := greet(t, srv.addr)
	p.must(p.open(1, true, p.request("GET", "/1")))
	p.must(p.open(3, true, p.request("GET", "/3")))
	<-entered
	<-entered
	p.must(p.WriteRSTStream(1, http2.ErrCodeCancel))
	p.must(p.open(5, true, p.request("GET", "/5")))
	p.must(p.WriteRSTStream(3, http2.ErrCodeCancel))
	p.must(p.open(7, true, p.request("GET", "/7")))
	p.must(p.WriteRSTStream(5, http2.ErrCodeCancel)) // It has not begun and never will.
	p.alive()
	select {
	case path := <-entered:
		t.Fatalf("%s is served beside two others", path)
	default:
	}
	leave <- struct{}{}
	if path := <-entered; path != "/7" {
		t.Errorf("%s is served next", path)
	}
	close(leave)
}

// openLarge opens a stream with a header block that may need several frames.
func (p *peer) openLarge(id uint32, block []byte) error {
	const most = 16 << 10
	if len(block) <= most {
		return p.open(id, true, block)
	}
	if err := p.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block[:most], EndStream: true}); err != nil {
		return err
	}
	for block = block[most:]; len(block) > most; block = block[most:] {
		if err := p.WriteContinuation(id, false, block[:most]); err != nil {
			return err
		}
	}
	return p.WriteContinuation(id, true, block)
}

func TestLargeHeadersAreRefused(t *testing.T) {
	t.Parallel()
	srv := startEngine(t, h2.Config{Handler: newEndless(t)})
	t.Run("one field", func(t *testing.T) {
		t.Parallel()
		p := greet(t, srv.addr)
		p.must(p.openLarge(1, p.request("GET", "/", "x-large", strings.Repeat("\x7e", 70_000)))) // Huffman makes it larger, so it stays.
		if status := p.status(1); status != "431" {
			t.Errorf("status %s", status)
		}
		p.must(p.open(3, true, p.request("GET", "/", "x-after", "one"))) // The table is still the same on both sides.
		p.alive()
	})
	t.Run("path", func(t *testing.T) {
		t.Parallel()
		p := greet(t, srv.addr)
		p.must(p.openLarge(1, p.request("GET", "/"+strings.Repeat("\x7e", 70_000))))
		if status := p.status(1); status != "431" {
			t.Errorf("status %s", status)
		}
		p.alive()
	})
	t.Run("beyond all bounds", func(t *testing.T) {
		t.Parallel()
		p := greet(t, srv.addr)
		_ = p.openLarge(1, p.request("GET", "/", "x-large", strings.Repeat("\x7e", 300_000))) // The server may have hung up.
		if code := p.goAway(); code != http2.ErrCodeEnhanceYourCalm {
			t.Errorf("GOAWAY with %v", code)
		}
	})
	t.Run("many references to one field", func(t *testing.T) {
		t.Parallel()
		p := greet(t, srv.addr)
		block := p.request("GET", "/", "x-bomb", strings.Repeat("x", 3000))
		block = append(block, bytes.Repeat([]byte{0x80 | 62}, 10_000)...) // The newest entry of the dynamic table.
		p.must(p.open(1, true, block))
		if status := p.status(1); status != "431" {
			t.Errorf("status %s", status)
		}
		p.must(p.open(3, true, p.request("GET", "/"))) // The table is still the same on both sides.
		p.alive()
	})
}

// shortAnswer answers all requests with little.
type shortAnswer struct{ pathEcho }

func (shortAnswer) Route(context.Context, *h2.Head, h2.Route) h2.Route { return pathEcho{"short"} }

// A connection keeps nothing of a large header when its request has been answered.
func TestLargeHeadersAreNotKept(t *testing.T) { // Alone: it measures.
	scribe := &peer{tb: t} // Those that are measured would keep what they have written.
	scribe.hpack = hpack.NewEncoder(&scribe.block)
	references := bytes.Repeat([]byte{0x82}, 250_000) // To ":method: GET".
	for name, block := range map[string][]byte{
		"a field of many bytes":                scribe.request("GET", "/", "x-large", strings.Repeat("\x7e", 60_000)),
		"many references":                      references,
		"many references before a path":        slices.Concat(references, literal(0x04, "/", false)),
		"many references before another field": slices.Concat(references, literal(0x16, "/", false)),
	} {
		t.Run(name, func(t *testing.T) {
			const connections = 50
			srv := startEngine(t, h2.Config{Direct: shortAnswer{}, Handler: http.NotFoundHandler()})
			var peers []*peer
			for range connections {
				peers = append(peers, greet(t, srv.addr))
				peers[len(peers)-1].alive()
			}
			before, _ := usage(t)
			for _, p := range peers {
				p.must(p.openLarge(1, block))
				p.alive()
			}
			checkHeap(t, before, connections, "connection")
			runtime.KeepAlive(peers)
		})
	}
}

// TestSilence checks that a connection is closed when its peer takes too long.
func TestSilence(t *testing.T) {
	t.Parallel()
	const none = http2.ErrCode(0xff)
	for name, test := range map[string]struct {
		send func(p *peer)
		code http2.ErrCode
	}{
		"nothing at all":       {func(*peer) {}, none},
		"part of a preface":    {func(p *peer) { _, _ = io.WriteString(p.conn, http2.ClientPreface[:10]) }, none},
		"no SETTINGS":          {func(p *peer) { _, _ = io.WriteString(p.conn, http2.ClientPreface) }, http2.ErrCodeNo},
		"no request":           {func(p *peer) { p.preface() }, http2.ErrCodeNo},
		"part of HEADERS":      {func(p *peer) { p.preface(); _, _ = p.conn.Write([]byte{0, 0, 9, 1, 5, 0, 0, 0, 1, 0x82}) }, http2.ErrCodeNo},
		"part of a frame":      {func(p *peer) { p.preface(); _, _ = p.conn.Write([]byte{0, 0, 9}) }, http2.ErrCodeNo},
		"no CONTINUATION":      {func(p *peer) { p.preface(); _ = openHalf(p) }, http2.ErrCodeNo},
		"PING is not answered": {func(p *peer) { p.preface(); _ = openOne(p) }, http2.ErrCodeNo},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := startSniffing(t, h2.Config{
					Handler:       http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }),
					HeaderTimeout: 100 * time.Millisecond, IdleTimeout: 200 * time.Millisecond,
					PingAfter: 300 * time.Millisecond, PingTimeout: 100 * time.Millisecond,
				})
				test.send(p)
				start := time.Now()
				if code := p.goAway(); code != test.code {
					t.Errorf("GOAWAY with %v", code)
				}
				if waited := time.Since(start); waited > 10*time.Second {
					t.Errorf("closed after %v", waited)
				}
			})
		})
	}
}

// startSniffing is startAlone with the listener, which finds out what the connection speaks.
func startSniffing(t *testing.T, config h2.Config) *peer {
	t.Helper()
	srv := h2.New(config)
	ours, theirs := net.Pipe()
	inner := &oneConn{conn: make(chan net.Conn, 1)}
	inner.conn <- theirs
	listener := srv.Listener(inner)
	t.Cleanup(func() {
		_ = ours.Close()
		close(inner.conn)
		if err := errors.Join(listener.Close(), srv.Shutdown(context.Background())); err != nil {
			t.Error(err)
		}
	})
	return newPeer(t, ours)
}

// TestDrippingHeaders sends a header block byte by byte.
func TestDrippingHeaders(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := startAlone(t, h2.Config{Handler: newEndless(t), HeaderTimeout: 100 * time.Millisecond})
		p.preface()
		closed := make(chan http2.ErrCode, 1)
		go func() { closed <- p.goAway() }()
		header := append([]byte{0, 0x40, 0, 1, 5, 0, 0, 0, 1}, make([]byte, 0x4000)...)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for _, b := range header {
			select {
			case <-closed:
				return
			case <-tick.C:
				_, _ = p.conn.Write([]byte{b})
			}
		}
		t.Error("the connection stays open")
	})
}

// TestAnsweredPings keeps a connection with an open stream that is silent otherwise.
func TestAnsweredPings(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := startAlone(t, h2.Config{Handler: newEndless(t), PingAfter: 20 * time.Millisecond, PingTimeout: 500 * time.Millisecond})
		p.preface()
		p.must(openOne(p))
		for pings := 0; pings < 3; {
			f, err := p.ReadFrame()
			p.must(err)
			if f, ok := f.(*http2.PingFrame); ok && !f.IsAck() {
				p.must(p.WritePing(true, f.Data))
				pings++
			}
		}
		p.alive()
	})
}

// flowing writes without an end, and tells how it ended.
func flowing(ended chan error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		var err error
		for err == nil {
			_, err = w.Write(make([]byte, 8<<10))
		}
		ended <- err
	})
}

// TestPatientReaders blocks a stream for a moment, and leaves it idle for longer than
// a stream may be blocked.
func TestPatientReaders(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const timeout = 300 * time.Millisecond
		more := make(chan struct{})
		p := startAlone(t, h2.Config{WriteTimeout: timeout, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(make([]byte, 20_000))
			select {
			case <-more:
			case <-t.Context().Done():
			}
			_, _ = w.Write(make([]byte, 1))
		})})
		p.preface(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10_000})
		p.must(p.open(1, true, p.request("GET", "/")))
		for read := 0; read < 20_000; {
			f, err := p.ReadFrame()
			p.must(err)
			if f, ok := f.(*http2.DataFrame); ok {
				if read += len(f.Data()); read == 10_000 {
					p.must(p.WriteWindowUpdate(1, 20_000))
				}
			}
		}
		time.Sleep(4 * timeout)
		p.alive()
		close(more)
		for {
			f, err := p.ReadFrame()
			p.must(err)
			switch f := f.(type) {
			case *http2.RSTStreamFrame:
				t.Fatalf("reset with %v", f.ErrCode)
			case *http2.DataFrame:
				if f.StreamEnded() {
					return
				}
			}
		}
	})
}

func TestZeroWindows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 1)
		srv := h2.New(h2.Config{Handler: flowing(ended), WriteTimeout: 100 * time.Millisecond})
		p := connectAlone(t, srv)
		p.preface(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
		p.must(p.open(1, true, p.request("GET", "/")))
		if code := p.reset(1); code != http2.ErrCodeEnhanceYourCalm {
			t.Errorf("reset with %v", code)
		}
		<-ended
		p.alive()
		if got := srv.Stats().Timeouts.Load(); got != 1 {
			t.Errorf("%d timeouts counted", got)
		}
	})
}

// TestSlowReadersAreTold lets a stream wait for its reader for too long. Its handler says
// so in a trailer, or else the stream is reset.
func TestSlowReadersAreTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 2)
		p := startAlone(t, h2.Config{WriteTimeout: 100 * time.Millisecond, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			flowing(ended).ServeHTTP(w, r)
			if r.URL.Path == "/told" {
				w.Header().Set(http.TrailerPrefix+"Grpc-Status", "8")
			}
		})})
		p.preface()
		p.must(p.open(1, true, p.request("GET", "/told")))
		var trailer *http2.HeadersFrame
		for headers := 0; headers < 2; {
			f, err := p.ReadFrame()
			p.must(err)
			if f, ok := f.(*http2.HeadersFrame); ok {
				headers++
				trailer = f
			}
		}
		if !trailer.StreamEnded() {
			t.Error("the stream goes on after its trailer")
		}
		if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the handler gets %v", err)
		}
		p.must(p.WriteWindowUpdate(0, 1<<20))
		p.must(p.open(3, true, p.request("GET", "/")))
		if code := p.reset(3); code != http2.ErrCodeEnhanceYourCalm {
			t.Errorf("reset with %v", code)
		}
		p.alive()
	})
}

// A handler that has returned when its reader turns out to be slow has said nothing of
// that in its trailer.
func TestSlowReadersAreNotMisled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := startAlone(t, h2.Config{WriteTimeout: 100 * time.Millisecond, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
			_, _ = io.WriteString(w, "small")
		})})
		p.preface(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
		p.must(p.open(1, true, p.request("GET", "/")))
		if code := p.reset(1); code != http2.ErrCodeEnhanceYourCalm {
			t.Errorf("reset with %v", code)
		}
	})
}

// A handler may go on after its deadline, unless a part of what it wrote has been sent.
func TestWritesResume(t *testing.T) {
	t.Parallel()
	for window, want := range map[uint32]int{0: len("end"), 10: 10} {
		synctest.Test(t, func(t *testing.T) {
			resumed := make(chan bool, 1)
			q := startQuiet(t, h2.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
				if _, err := w.Write(make([]byte, 8<<10)); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("the handler gets %v", err)
				}
				resumed <- w.(interface{ ResumeWrite() bool }).ResumeWrite()
				_, _ = io.WriteString(w, "end")
			})}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: window})
			q.must(q.open(1, true, q.request("GET", "/")))
			torn := window > 0
			if <-resumed == torn {
				t.Errorf("with a window of %d bytes the handler may go on: %t", window, !torn)
			}
			q.must(q.WriteWindowUpdate(1, 1<<10))
			synctest.Wait()
			if _, reset := q.reset[1]; q.data[1] != want || reset != torn {
				t.Errorf("with a window of %d bytes the body has %d, reset %t", window, q.data[1], reset)
			}
		})
	}
}

// TestTinyWindows lets peers take a byte at a time, and give back each by itself.
func TestTinyWindows(t *testing.T) {
	t.Parallel()
	const size = 20_000
	for name, window := range map[string]uint32{"windows of one byte": 1, "windows of 64 bytes": 64, "updates by the byte": 65_535} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := startEngine(t, h2.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = w.Write(make([]byte, size))
			})})
			p := greet(t, srv.addr, http2.Setting{ID: http2.SettingInitialWindowSize, Val: window})
			p.must(p.open(1, true, p.request("GET", "/")))
			for ended := false; !ended; {
				f, err := p.ReadFrame()
				p.must(err)
				data, ok := f.(*http2.DataFrame)
				if !ok {
					continue
				}
				for range data.Data() {
					p.must(p.WriteWindowUpdate(0, 1))
					p.must(p.WriteWindowUpdate(1, 1))
				}
				ended = data.StreamEnded()
			}
			p.alive()
		})
	}
}

// TestSettingsAreAcknowledgedFirst lets a stream go on by SETTINGS: what it sends follows
// the acknowledgement, by which a peer knows that its settings hold.
func TestSettingsAreAcknowledgedFirst(t *testing.T) {
	t.Parallel()
	srv := startEngine(t, h2.Config{Handler: flowing(make(chan error, 1))})
	p := greet(t, srv.addr, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
	p.must(p.open(1, true, p.request("GET", "/")))
	for read := false; !read; { // The one byte: the handler waits for more room.
		f, err := p.ReadFrame()
		p.must(err)
		_, read = f.(*http2.DataFrame)
	}
	p.must(p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 2}))
	f, err := p.ReadFrame()
	p.must(err)
	if settings, ok := f.(*http2.SettingsFrame); !ok || !settings.IsAck() {
		t.Errorf("the first answer to SETTINGS is %v", f)
	}
}

// TestSocketIsNotRead opens all windows and reads nothing.
func TestSocketIsNotRead(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	srv := startEngine(t, h2.Config{Handler: flowing(ended), WriteTimeout: 200 * time.Millisecond})
	p := greet(t, srv.addr, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
	p.must(p.WriteWindowUpdate(0, 1<<30))
	p.must(p.open(1, true, p.request("GET", "/")))
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("the handler still writes")
	}
}

// TestAnswersAreNotRead asks for answers that no window bounds, and reads none.
func TestAnswersAreNotRead(t *testing.T) { // Alone: it measures.
	srv := startEngine(t, h2.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Large", strings.Repeat("x", 10_000))
	}), WriteTimeout: time.Second})
	p := greet(t, srv.addr)
	heap, _ := usage(t)
	var err error
	for i := uint32(0); err == nil && i < floodLimit; i++ { // The system takes megabytes that nobody has read.
		p.must(p.conn.SetWriteDeadline(time.Now().Add(silence)))
		err = p.open(2*i+1, true, p.request("GET", "/"))
	}
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection is still there")
	}
	if after, _ := usage(t); after-heap > 32<<20 {
		t.Errorf("grew by %d MiB", (after-heap)>>20)
	}
}

// TestSlowReaders checks what a stream costs whose peer does not read it.
func TestSlowReaders(t *testing.T) { // Alone: it measures.
	const streams = 100
	var blocked atomic.Int64
	srv := startEngine(t, h2.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		blocked.Add(1)
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 1<<10)); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
		}
	})})
	heap, _ := usage(t)
	p := greet(t, srv.addr)
	for i := range uint32(streams) {
		p.must(p.open(2*i+1, true, p.request("GET", "/")))
	}
	for blocked.Load() < streams {
		p.alive()
	}
	checkHeap(t, heap, streams, "stream")
}

// TestWellBehavedPeersAreNotFloods does much of what a flood does, as a part of
// legitimate work.
func TestWellBehavedPeersAreNotFloods(t *testing.T) {
	t.Parallel()
	srv := startEngine(t, h2.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for range 5_000 {
			_, _ = io.WriteString(w, "a short message")
			_ = http.NewResponseController(w).Flush()
		}
	})})
	p := greet(t, srv.addr)
	p.must(p.open(1, true, p.request("GET", "/")))
	for {
		f, err := p.ReadFrame()
		p.must(err)
		data, ok := f.(*http2.DataFrame)
		if !ok {
			continue
		}
		if data.StreamEnded() {
			break
		}
		if len(data.Data()) > 0 { // Gives every frame back at once, and measures the delay with a PING.
			p.must(p.WriteWindowUpdate(0, uint32(len(data.Data()))))
			p.must(p.WriteWindowUpdate(1, uint32(len(data.Data()))))
			p.must(p.WritePing(false, [8]byte{1}))
		}
	}
	p.alive()
}

// TestCallsCancelledAtOnce cancels calls in the ways in which clients of gRPC do that have not
// written them yet: grpc-java 1.41 writes the message behind the RST_STREAM, and gRPC's C core
// leaves out the HEADERS, of which others follow with lower numbers.
func TestCallsCancelledAtOnce(t *testing.T) {
	t.Parallel()
	const calls = 5_000
	for name, cancelled := range map[string]func(p *peer, id uint32){
		"before the message": func(p *peer, id uint32) {
			p.must(p.open(id, false, p.request("POST", "/")))
			p.must(p.WriteRSTStream(id, http2.ErrCodeCancel))
			p.must(p.WriteData(id, true, []byte("message")))
		},
		"before the header": func(p *peer, id uint32) {
			if id%4 == 1 { // The one before goes well.
				p.must(p.WriteRSTStream(id, http2.ErrCodeCancel))
				p.must(p.open(id-2, true, p.request("GET", "/")))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := startEngine(t, h2.Config{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost { // It is cancelled.
					<-r.Context().Done()
				}
			})})
			p := greet(t, srv.addr)
			p.must(p.open(1, true, p.request("GET", "/")))
			if status := p.status(1); status != "200" {
				t.Fatalf("the first call is answered with %s", status)
			}
			for id := uint32(3); id < 2*calls; id += 2 {
				cancelled(p, id)
				if id%100 == 1 {
					p.alive() // Whoever waits for a place has got it.
				}
			}
		})
	}
}

// TestGoReadsLongStreams reads a million small messages, each by itself, with Go's
// client, which gives back every 4 KiB to the stream and to the connection.
func TestGoReadsLongStreams(t *testing.T) {
	t.Parallel()
	const messages, size = 1_000_000, 100
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for range messages / 100 {
			_, _ = w.Write(make([]byte, 100*size))
		}
	})
	for name, engine := range map[string]bool{"std": false, "engine": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := transport{engine: engine}.start(t, h2.Config{Handler: handler})
			resp, err := client(t).Do(newRequest(http.MethodGet, srv.url, nil))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			message := make([]byte, size)
			for i := range messages {
				if _, err := io.ReadFull(resp.Body, message); err != nil {
					t.Fatalf("message %d: %v", i, err)
				}
			}
		})
	}
}

// TestGoSendsLongStreams sends as many.
func TestGoSendsLongStreams(t *testing.T) {
	t.Parallel()
	const messages, size = 1_000_000, 100
	srv := startEngine(t, h2.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprint(w, n, err)
	})})
	body, to := io.Pipe()
	go func() {
		message := make([]byte, size)
		for range messages {
			if _, err := to.Write(message); err != nil {
				return
			}
		}
		_ = to.Close()
	}()
	resp, err := client(t).Do(newRequest(http.MethodPost, srv.url, body))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if got, err := io.ReadAll(resp.Body); err != nil || string(got) != fmt.Sprint(messages*size, nil) {
		t.Errorf("the server got %q, %v", got, err)
	}
}

// overdue is a context that ends as if by its deadline.
type overdue struct{ context.Context }

func (o overdue) Err() error {
	if o.Context.Err() != nil {
		return context.DeadlineExceeded
	}
	return nil
}

// TestCancelledCalls lets callers whose deadline is over as soon as their call has begun
// share a connection, as they do behind a proxy when a server stalls, with one who has
// time.
func TestCancelledCalls(t *testing.T) {
	t.Parallel()
	const callers, calls = 40, 500
	begun, leave := make(chan struct{}), make(chan struct{})
	var deadlines sync.Map // By path: ends the call.
	srv := startEngine(t, h2.Config{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/patient" {
			close(begun)
			<-leave
			return
		}
		if end, ok := deadlines.Load(r.URL.Path); ok {
			end.(context.CancelFunc)()
		}
		<-r.Context().Done()
	})})
	client := client(t)
	patient := make(chan error, 1)
	go func() {
		resp, err := client.Do(newRequest(http.MethodGet, srv.url+"/patient", nil))
		if err == nil {
			err = resp.Body.Close()
		}
		patient <- err
	}()
	<-begun // The connection is there.
	var all sync.WaitGroup
	for caller := range callers {
		all.Go(func() {
			path := fmt.Sprintf("/%d", caller)
			for range calls {
				ctx, cancel := context.WithCancel(t.Context())
				deadlines.Store(path, cancel)
				_, err := client.Do(newRequest(http.MethodGet, srv.url+path, nil).WithContext(overdue{ctx}))
				cancel()
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("a call ends with %v", err)
					return
				}
			}
		})
	}
	all.Wait()
	close(leave)
	if err := <-patient; err != nil {
		t.Errorf("the patient caller: %v", err)
	}
	if n := srv.Stats().ConnectionErrors.Load(); n != 0 {
		t.Errorf("%d connections were ended", n)
	}
	if n := srv.Stats().ResetsReceived.Load(); n < callers*calls/10 {
		t.Errorf("only %d calls were cancelled", n)
	}
}

// TestSlowCalls sends half a message to the lane.
func TestSlowCalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := startAlone(t, h2.Config{
			Handler: http.NotFoundHandler(), Direct: testLane(testRPC(), nil),
			ReadTimeout: 50 * time.Millisecond, HeaderTimeout: 100 * time.Millisecond,
		})
		p.preface()
		p.must(p.open(1, false, p.request("POST", procedure, "content-type", "application/grpc")))
		p.must(p.WriteData(1, false, binary.BigEndian.AppendUint32([]byte{0}, 10)))
		p.must(p.open(3, false, p.request("POST", procedure, "content-type", "application/grpc")))
		p.must(p.WriteData(3, false, append(binary.BigEndian.AppendUint32([]byte{0}, 40_000), make([]byte, 16_000)...)))
		for range 2 {
			if code := p.reset(0); code != http2.ErrCodeNo { // After the response, for the rest of the request.
				t.Errorf("a stream is reset with %v", code)
			}
		}
		p.alive()
	})
}

// TestOneSlowCallDelaysNoOther leaves a body unread and a response unsent, and makes
// other requests on the same connection.
func TestOneSlowCallDelaysNoOther(t *testing.T) {
	t.Parallel()
	slow := newEndless(t)
	mux := http.NewServeMux()
	mux.Handle("/slow", slow)
	mux.Handle("/flowing", flowing(make(chan error, 1)))
	mux.HandleFunc("/well-behaved", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	srv := startEngine(t, h2.Config{Handler: mux})
	p := greet(t, srv.addr, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
	p.must(p.WriteWindowUpdate(0, 1<<30))
	p.must(p.open(1, false, p.request("POST", "/slow")))
	p.must(p.open(3, true, p.request("GET", "/flowing")))
	p.must(p.WriteData(1, false, make([]byte, 16_000)))
	for id := uint32(5); id < 100; id += 2 {
		p.must(p.open(id, false, p.request("POST", "/well-behaved")))
		p.must(p.WriteData(id, true, []byte("hello")))
		if status := p.status(id); status != "200" {
			t.Fatalf("stream %d: %s", id, status)
		}
	}
}
