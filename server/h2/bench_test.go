package h2_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"

	"golang.org/x/net/http2"

	"github.com/example/userd/server/h2"
)

const (
	benchConns   = 8
	benchStreams = 16
)

// BenchmarkUnary makes small gRPC calls over 8 connections with 16 streams each, and
// BenchmarkUnary/*/bare the same requests to a handler that answers with fixed bytes.
// What allocates is the server: the load generator does not.
func BenchmarkUnary(b *testing.B) {
	rpc := testRPC()
	mux := testMux(rpc)
	bare := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/grpc")
		_, _ = w.Write(envelope(0, textMessage("hello")))
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
	})
	sure := testLane(rpc, func([]byte) bool { return true })
	for _, bench := range []struct {
		name   string
		engine bool
		config h2.Config
	}{
		{"std/bare", false, h2.Config{Handler: bare}},
		{"std/connect", false, h2.Config{Handler: mux}},
		{"engine/bare", true, h2.Config{Handler: bare}},
		{"engine/connect", true, h2.Config{Handler: mux}},
		{"engine/lane", true, h2.Config{Handler: mux, Direct: testLane(rpc, nil)}},
		{"engine/inline", true, h2.Config{Handler: mux, Direct: sure}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			srv := transport{engine: bench.engine}.start(b, bench.config)
			load(b, srv.addr, benchConns, benchStreams)
		})
	}
}

// load makes b.N requests in a closed loop.
func load(b *testing.B, addr string, conns, streams int) {
	b.Helper()
	generators := make([]*generator, conns)
	for i := range generators {
		generators[i] = newGenerator(b, addr)
	}
	b.ReportAllocs()
	b.ResetTimer()
	var all sync.WaitGroup
	for i, g := range generators {
		n := b.N / conns
		if i < b.N%conns {
			n++
		}
		all.Go(func() {
			if err := g.run(n, streams); err != nil {
				b.Error(err)
			}
		})
	}
	all.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
}

// generator makes the same request again and again on one connection.
type generator struct {
	conn    net.Conn
	block   []byte // Of all requests but the first: nothing but references.
	message []byte
	out, in []byte
	next    uint32
}

func newGenerator(tb testing.TB, addr string, extra ...string) *generator {
	tb.Helper()
	p := greet(tb, addr, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
	p.must(p.WriteWindowUpdate(0, 1<<30))
	request := append([]string{
		"content-type", "application/grpc", "user-agent", "grpc-go/1.83.2", "te", "trailers",
	}, extra...)
	g := &generator{
		conn: p.conn.(stirred).Conn, message: envelope(0, textMessage("hello")), next: 3,
		out: make([]byte, 0, 64<<10), in: make([]byte, 64<<10),
	}
	p.must(p.open(1, false, p.request("POST", procedure, request...)))
	p.must(p.WriteData(1, true, g.message))
	for ended := false; !ended; {
		f, err := p.ReadFrame()
		p.must(err)
		ended = f.Header().StreamID == 1 && f.Header().Flags.Has(http2.FlagDataEndStream)
	}
	g.block = p.request("POST", procedure, request...)
	return g
}

func (g *generator) append() {
	g.out = appendRawFrame(g.out, http2.FrameHeaders, http2.FlagHeadersEndHeaders, g.next, g.block)
	g.out = appendRawFrame(g.out, http2.FrameData, http2.FlagDataEndStream, g.next, g.message)
	g.next += 2
}

func appendRawFrame(b []byte, kind http2.FrameType, flags http2.Flags, id uint32, payload []byte) []byte {
	b = append(b, byte(len(payload)>>16), byte(len(payload)>>8), byte(len(payload)), byte(kind), byte(flags),
		byte(id>>24), byte(id>>16), byte(id>>8), byte(id))
	return append(b, payload...)
}

// run makes n requests, some of them at a time.
func (g *generator) run(n, atATime int) error {
	sent := min(n, atATime)
	for range sent {
		g.append()
	}
	filled := 0
	for done := 0; done < n; {
		if len(g.out) > 0 {
			if _, err := g.conn.Write(g.out); err != nil {
				return err
			}
			g.out = g.out[:0]
		}
		read, err := g.conn.Read(g.in[filled:])
		if err != nil {
			return err
		}
		filled += read
		ended, parsed, err := countEnds(g.in[:filled])
		if err != nil {
			return err
		}
		filled = copy(g.in, g.in[parsed:filled])
		done += ended
		for ; ended > 0 && sent < n; ended-- {
			g.append()
			sent++
		}
	}
	return nil
}

// countEnds counts the streams that end in some frames.
func countEnds(b []byte) (ended, parsed int, err error) {
	for len(b)-parsed >= 9 {
		h := b[parsed:]
		length := int(h[0])<<16 | int(h[1])<<8 | int(h[2])
		if len(h) < 9+length {
			break
		}
		switch kind := http2.FrameType(h[3]); kind {
		case http2.FrameRSTStream, http2.FrameGoAway:
			return 0, 0, errors.New("the server sent " + kind.String())
		case http2.FrameData, http2.FrameHeaders:
			if http2.Flags(h[4]).Has(http2.FlagDataEndStream) {
				ended++
			}
		}
		parsed += 9 + length
	}
	return ended, parsed, nil
}

// BenchmarkStream streams a response whose handler flushes each small message, as
// Connect does.
func BenchmarkStream(b *testing.B) {
	message := envelope(0, bytes.Repeat([]byte("x"), 150))
	for _, engine := range []bool{false, true} {
		b.Run(map[bool]string{false: "std", true: "engine"}[engine], func(b *testing.B) {
			srv := transport{engine: engine}.start(b, h2.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				for range b.N {
					_, _ = w.Write(message)
					_ = http.NewResponseController(w).Flush()
				}
			})})
			resp, err := client(b).Get(srv.url)
			if err != nil {
				b.Fatal(err)
			}
			n, err := io.Copy(io.Discard, resp.Body)
			if err != nil || n != int64(b.N*len(message)) {
				b.Fatalf("%d bytes: %v", n, err)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}

// BenchmarkTransfer moves 1 MiB a request, up or down.
func BenchmarkTransfer(b *testing.B) {
	const size = 1 << 20
	body := make([]byte, size)
	for _, engine := range []bool{false, true} {
		name := map[bool]string{false: "std", true: "engine"}[engine]
		srv := transport{engine: engine}.start(b, h2.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			if r.Method == http.MethodGet {
				_, _ = w.Write(body)
			}
		})})
		client := client(b)
		b.Run(name+"/up", func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				resp, err := client.Post(srv.url, "", bytes.NewReader(body))
				if err != nil {
					b.Fatal(err)
				}
				_ = resp.Body.Close()
			}
		})
		b.Run(name+"/down", func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				resp, err := client.Get(srv.url)
				if err != nil {
					b.Fatal(err)
				}
				if n, err := io.Copy(io.Discard, resp.Body); n != size || err != nil {
					b.Fatalf("%d bytes: %v", n, err)
				}
			}
		})
	}
}
