//go:build unix

package server_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2/connecthttp"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/server"
	"github.com/example/userd/server/servertest"
)

// The engine ends a connection that floods it. net/http lets most floods pass, and
// streams that it is made to reset cost it about 40 µs each.
const (
	floodFrames    = 5_000
	maxFloodCPU    = 500 * time.Millisecond // Of a server that does not end the connection.
	maxFloodMemory = 64 << 20
)

// attacker writes frames into a buffer.
type attacker struct {
	*http2.Framer
	buffer bytes.Buffer
	header *hpack.Encoder
	block  bytes.Buffer
	token  string // Its credentials, or "".
}

func newAttacker(token string) *attacker {
	a := &attacker{token: token}
	a.Framer = http2.NewFramer(&a.buffer, nil)
	a.AllowIllegalWrites = true
	a.header = hpack.NewEncoder(&a.block)
	return a
}

// must takes the errors of writing to a buffer: there are none.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// fields is a header block.
func (a *attacker) fields(pairs ...string) []byte {
	a.block.Reset()
	for i := 0; i < len(pairs); i += 2 {
		must(a.header.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]}))
	}
	return a.block.Bytes()
}

// open opens stream 2i+1, with a call whose request does not come.
func (a *attacker) open(i uint32, end bool) {
	block := a.fields(":method", "POST", ":scheme", "http", ":authority", "test",
		":path", "/user.v1.UserService/StreamUserUpdates", "content-type", "application/grpc", "te", "trailers", "authorization", "Bearer "+a.token)
	must(a.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*i + 1, BlockFragment: block, EndHeaders: true, EndStream: end}))
}

// floods are the attacks on HTTP/2, one frame or a few at a time. Frame 0 may be
// another one.
var floods = map[string]func(a *attacker, i uint32){
	"rapid reset": func(a *attacker, i uint32) {
		a.open(i, true)
		must(a.WriteRSTStream(2*i+1, http2.ErrCodeCancel))
	},
	"made you reset by a window": func(a *attacker, i uint32) {
		a.open(i, false)
		must(a.WriteWindowUpdate(2*i+1, 1<<31-1))
	},
	"made you reset by DATA after the end": func(a *attacker, i uint32) {
		a.open(i, true)
		must(a.WriteData(2*i+1, true, nil))
	},
	"too many streams": func(a *attacker, i uint32) { a.open(i, false) },
	"SETTINGS":         func(a *attacker, _ uint32) { must(a.WriteSettings()) },
	"PING":             func(a *attacker, _ uint32) { must(a.WritePing(false, [8]byte{})) },
	"WINDOW_UPDATE":    func(a *attacker, _ uint32) { must(a.WriteWindowUpdate(0, 1)) },
	"PRIORITY":         func(a *attacker, _ uint32) { must(a.WritePriority(3, http2.PriorityParam{StreamDep: 1})) },
	"empty DATA": func(a *attacker, i uint32) {
		if i == 0 {
			a.open(0, false)
		}
		must(a.WriteData(1, false, nil))
	},
	"CONTINUATION": func(a *attacker, i uint32) {
		if i == 0 {
			must(a.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: a.fields(":method", "POST")}))
		}
		must(a.WriteContinuation(1, false, a.fields("x-more", strings.Repeat("x", 1000))))
	},
}

// A flood ends the connection, or is too cheap to matter. It does not grow the server,
// and a client on another connection notices nothing.
func TestFloods(t *testing.T) { // Alone: it measures.
	for name, frames := range floods {
		for server, start := range servers {
			t.Run(name+"/"+server, func(t *testing.T) { testFlood(t, start(t), frames) })
		}
	}
}

func testFlood(t *testing.T, victim attacked, frames func(a *attacker, i uint32)) {
	other := victim.client(t, grpcBinary.options...)
	user := create(t, other, newUserRequest(1))
	flood := newAttacker(victim.token)
	for i := range uint32(floodFrames) {
		frames(flood, i)
	}
	must(flood.WritePing(false, lastPing))
	conn, _ := dialRaw(t, victim.Server)
	runtime.GC()
	memory, cpu := heap(), cpuTime(t)
	go func() { _, _ = conn.conn.Write(flood.buffer.Bytes()) }() // Fails where the server hangs up.
	ended := conn.ends()
	spent, grown := cpuTime(t)-cpu, heap()-memory
	if _, err := other.GetUser(t.Context(), &userv1.GetUserRequest{UserId: user.GetId()}); err != nil {
		t.Errorf("another client notices: %v", err)
	}
	if grown > maxFloodMemory {
		t.Errorf("server grows by %d bytes", grown)
	}
	if !ended && raceFactor == 1 && spent > maxFloodCPU {
		t.Errorf("connection stays open, and has cost %v", spent)
	}
	if !ended && servertest.HTTP2Transport() == server.Engine {
		t.Error("connection stays open")
	}
}

// servers are those that are attacked.
var servers = map[string]func(tb testing.TB) attacked{
	"open": func(tb testing.TB) attacked { return attacked{Server: servertest.Start(tb, nil)} },
	"with TLS and credentials": func(tb testing.TB) attacked {
		return attacked{startGuarded(tb, withTLS, tokenLine("caller", everyScope)).Server, "caller"}
	},
}

// attacked is a server, and the token that its callers have.
type attacked struct {
	*servertest.Server
	token string
}

func (a attacked) client(tb testing.TB, options ...connecthttp.Option) userv1connect.UserServiceClient {
	tb.Helper()
	return a.ClientOf(changing(servertest.HTTP2(tb), func(req *http.Request) { req.Header.Set("Authorization", "Bearer "+a.token) }), options...)
}

// ends reports whether the server ends the connection before it answers lastPing.
func (c *rawConn) ends() bool {
	for {
		frame, err := c.framer.ReadFrame()
		if err != nil {
			return true
		}
		if ping, ok := frame.(*http2.PingFrame); ok && ping.IsAck() && ping.Data == lastPing {
			return false
		}
	}
}

func heap() int64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapInuse + stats.StackInuse)
}

// inTime runs a server in memory, whose clock a test moves by waiting.
func inTime(t *testing.T, test func(t *testing.T, conn net.Conn)) {
	t.Helper()
	inTimeWith(t, server.Config{}, test)
}

func inTimeWith(t *testing.T, config server.Config, test func(t *testing.T, conn net.Conn)) {
	t.Helper()
	config.Store, config.HTTP2, config.AllowedHosts = endlessStore{}, servertest.HTTP2Transport(), []string{"*"}
	synctest.Test(t, func(t *testing.T) {
		running, err := server.New(config)
		must(err)
		listener := newPipes()
		served := make(chan error, 1)
		go func() { served <- running.Serve(listener) }()
		conn := listener.dial()
		test(t, conn)
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		if err := running.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

// A connection whose peer is silent is not kept for ever.
func TestSilence(t *testing.T) {
	for name, silence := range map[string]struct {
		limit time.Duration
		begin func(t *testing.T, conn net.Conn)
	}{
		"from the start": {6 * time.Second, func(*testing.T, net.Conn) {}},
		"in the middle of a header of HTTP/1.1": {6 * time.Second, func(_ *testing.T, conn net.Conn) {
			_, err := io.WriteString(conn, "GET /livez HTTP/1.1\r\nHost: te")
			must(err)
		}},
		"but for a byte of a header of HTTP/1.1 each second": {6 * time.Second, func(_ *testing.T, conn net.Conn) {
			_, err := io.WriteString(conn, "GET /livez HTTP/1.1\r\nX-More: ")
			for ; err == nil; _, err = io.WriteString(conn, "x") {
				time.Sleep(time.Second) // Of the test's clock.
			}
		}},
		"after the preface": {50 * time.Second, func(t *testing.T, conn net.Conn) {
			newRawConn(t, conn, "test")
		}},
		"but for answers to PING": {130 * time.Second, func(t *testing.T, conn net.Conn) {
			raw, _ := newRawConn(t, conn, "test")
			answerPings(raw)
		}},
		"in the middle of a header": {50 * time.Second, func(t *testing.T, conn net.Conn) {
			raw, _ := newRawConn(t, conn, "test")
			raw.must(raw.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x82}}))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			inTime(t, func(t *testing.T, conn net.Conn) {
				start := time.Now()
				silence.begin(t, conn)
				_, _ = io.Copy(io.Discard, conn) // However it ends.
				if took := time.Since(start); took > silence.limit {
					t.Errorf("connection ends after %v, want %v at most", took, silence.limit)
				}
			})
		})
	}
}

// A handshake of TLS is not waited for.
func TestSilenceBeforeTLS(t *testing.T) {
	var config server.Config
	withTLS(&config)
	for name, begin := range map[string]string{"from the start": "", "in the middle of a record": "\x16\x03\x01\x02\x00\x01"} {
		t.Run(name, func(t *testing.T) {
			inTimeWith(t, config, func(t *testing.T, conn net.Conn) {
				start := time.Now()
				_, err := io.WriteString(conn, begin)
				must(err)
				_, _ = io.Copy(io.Discard, conn) // However it ends.
				if took := time.Since(start); took > 11*time.Second {
					t.Errorf("connection ends after %v", took)
				}
			})
		})
	}
}

// readUntil reads until a text has come, and what came with it.
func readUntil(t *testing.T, conn net.Conn, text string) string {
	t.Helper()
	var read strings.Builder
	for part := make([]byte, 4<<10); !strings.Contains(read.String(), text); {
		n, err := conn.Read(part)
		read.Write(part[:n])
		if err != nil {
			t.Fatalf("connection ends after %q: %v", read.String(), err)
		}
	}
	return read.String()
}

// answerPings answers every PING until the connection ends.
func answerPings(raw *rawConn) {
	for {
		frame, err := raw.framer.ReadFrame()
		if err != nil {
			return
		}
		if ping, ok := frame.(*http2.PingFrame); ok && !ping.IsAck() && raw.framer.WritePing(true, ping.Data) != nil {
			return
		}
	}
}

// slowRow begins a stream whose first row comes whole, and which is then silent for longer
// than the rest of the second one may take, after the first byte of that.
func slowRow(t *testing.T, conn net.Conn, method string) {
	t.Helper()
	raw, _ := newRawConn(t, conn, "test")
	raw.call(1, "/user.v1.UserService/"+method)
	raw.must(raw.framer.WriteData(1, false, envelope(t, &userv1.CreateUserRequest{}))) // Is not valid, and not stored.
	raw.must(raw.framer.WriteData(1, false, []byte{0, 0}))
	raw.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	trailer := awaitFrame(raw, func(frame *http2.MetaHeadersFrame) bool { return frame.StreamEnded() })
	if status := fieldOf(trailer, "grpc-status"); status != "4" {
		t.Errorf("status is %s, want DEADLINE_EXCEEDED", status)
	}
}

// A unary call whose request does not come is not waited for, and neither is the rest of a
// row that has begun.
func TestSlowRequest(t *testing.T) {
	for name, begin := range map[string]func(t *testing.T, conn net.Conn){
		"HTTP/1.1": func(t *testing.T, conn net.Conn) {
			_, err := fmt.Fprint(conn, "POST /user.v1.UserService/CreateUser HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
			must(err)
			response := make([]byte, 1<<10)
			n, err := conn.Read(response)
			must(err)
			if !strings.HasPrefix(string(response[:n]), "HTTP/1.1 504 ") {
				t.Errorf("answer is %s", response[:n])
			}
		},
		"gRPC": func(t *testing.T, conn net.Conn) {
			raw, _ := newRawConn(t, conn, "test")
			raw.call(1, "/user.v1.UserService/CreateUser")
			raw.must(raw.framer.WriteData(1, false, []byte{0, 0, 0, 0, 100, 0}))
			raw.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
			trailer := awaitFrame(raw, func(frame *http2.MetaHeadersFrame) bool { return frame.StreamEnded() })
			if status := fieldOf(trailer, "grpc-status"); status != "4" {
				t.Errorf("status is %s, want DEADLINE_EXCEEDED", status)
			}
		},
		"import row": func(t *testing.T, conn net.Conn) { slowRow(t, conn, "BatchCreateUsers") },
		"update":     func(t *testing.T, conn net.Conn) { slowRow(t, conn, "StreamUserUpdates") },
		"import row over HTTP/1.1": func(t *testing.T, conn net.Conn) {
			_, err := fmt.Fprint(conn, "POST /user.v1.UserService/BatchCreateUsers HTTP/1.1\r\nHost: test\r\nContent-Type: application/connect+json\r\nContent-Length: 100\r\n\r\n\x00\x00\x00\x00\x50{")
			must(err)
			answer := readUntil(t, conn, `"code":`)
			if !strings.Contains(answer, `"deadline_exceeded"`) {
				t.Errorf("answer is %s", answer)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inTime(t, func(t *testing.T, conn net.Conn) {
				start := time.Now()
				begin(t, conn)
				if took := time.Since(start); took < 9*time.Second || took > 15*time.Second {
					t.Errorf("answer comes after %v, want about 10 s", took)
				}
			})
		})
	}
}
