package h2_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/example/userd/server/h2"
)

// FuzzBytes sends bytes after a preface, which must end in a closed connection and
// nothing worse.
func FuzzBytes(f *testing.F) {
	srv := h2.New(h2.Config{Direct: testLane(testRPC(), inline), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })})
	f.Cleanup(func() {
		if err := srv.Shutdown(context.Background()); err != nil {
			f.Error(err)
		}
	})
	seed := func(write func(p *http2.Framer)) {
		var b bytes.Buffer
		framer := http2.NewFramer(&b, nil)
		framer.AllowIllegalWrites = true
		_ = framer.WriteSettings()
		write(framer)
		f.Add(b.Bytes())
	}
	get := []byte{0x82, 0x86, 0x84, 0x41, 1, 'x'}
	seed(func(p *http2.Framer) {
		_ = p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: get, EndHeaders: true, EndStream: true})
		_ = p.WritePing(false, [8]byte{1})
	})
	seed(func(p *http2.Framer) {
		_ = p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: get[:2]})
		_ = p.WriteContinuation(1, true, get[2:])
		_ = p.WriteDataPadded(1, true, []byte("hello"), make([]byte, 10))
		_ = p.WriteRSTStream(1, http2.ErrCodeCancel)
		_ = p.WriteWindowUpdate(0, 1000)
		_ = p.WriteGoAway(1, http2.ErrCodeNo, nil)
	})
	f.Fuzz(func(t *testing.T, sent []byte) {
		ours, theirs := net.Pipe()
		served := make(chan struct{})
		go func() { srv.ServeConn(theirs); close(served) }()
		go func() { _, _ = io.Copy(io.Discard, ours) }()
		_, _ = io.WriteString(ours, http2.ClientPreface)
		_, _ = ours.Write(sent)
		_ = ours.Close()
		select {
		case <-served:
		case <-time.After(10 * time.Second):
			t.Fatal("the connection is still served")
		}
	})
}

// FuzzFrames sends the same frames to net/http and to the engine. Where RFC 9113
// leaves no choice, the same streams must be answered, and the connection stay open
// or not.
func FuzzFrames(f *testing.F) {
	f.Add([]byte{0, 1, 1, 1, 0})
	f.Add([]byte{1, 1, 2, 1, 3, 1, 4, 1, 5, 1, 6, 1, 7, 1, 8, 1})
	f.Add([]byte{1, 1, 2, 1, 9, 1, 10, 1, 11, 1, 12, 1, 13, 1})
	f.Add([]byte{0, 1, 2, 1, 0, 3, 0, 5, 4, 3, 4, 7, 0, 2})
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 60 {
			return
		}
		want := play(t, transport{}, script)
		got := play(t, transport{engine: true}, script)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("net/http -, engine +\n%s", diff)
		}
	})
}

// play sends the frames of a script while handlers wait, and returns what becomes of
// the connection and of its streams.
func play(t *testing.T, tr transport, script []byte) map[string]string {
	t.Helper()
	release := make(chan struct{})
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-release
		_, _ = io.Copy(io.Discard, r.Body)
	})
	ours, stop := pipeTo(t, tr, handler)
	defer stop()
	p := newPeer(t, ours)
	outcome, asked := make(chan map[string]string, 1), make(chan []string, 1)
	go func() { outcome <- p.collect(asked, sync.OnceFunc(func() { close(release) })) }()
	_, _ = io.WriteString(ours, http2.ClientPreface)
	_ = p.WriteSettings()
	player := player{peer: p, state: make(map[uint32]string)}
	for ; len(script) >= 2; script = script[2:] {
		if player.step(script[0], uint32(script[1])) != nil {
			break
		}
	}
	var answers []string
	for id, state := range player.state {
		if state == "open" { // Ends it, so that it can be answered.
			_ = p.WriteData(id, true, nil)
		}
		if state != "closed" {
			answers = append(answers, fmt.Sprint(id))
		}
	}
	asked <- answers
	_ = p.WritePing(false, lastPing)
	result := <-outcome
	if result["connection"] == "closed" {
		return map[string]string{"connection": "closed"}
	}
	return result
}

var lastPing = [8]byte{'l', 'a', 's', 't'}

// collect lets the handlers go when the last PING is answered, and returns when all
// streams are that were asked for.
func (p *peer) collect(asked chan []string, letGo func()) map[string]string {
	defer letGo()
	result := map[string]string{"connection": "open"}
	var missing []string
	for handled := false; !handled || len(missing) > 0; {
		f, err := p.ReadFrame()
		if _, ok := f.(*http2.GoAwayFrame); ok || err != nil {
			_ = p.conn.Close() // The script waits for nothing any more.
			return map[string]string{"connection": "closed"}
		}
		name := fmt.Sprint(f.Header().StreamID)
		switch f := f.(type) {
		case *http2.RSTStreamFrame:
			if result[name] == "" {
				result[name] = "reset"
			}
		case *http2.HeadersFrame:
			fields, _ := p.table.DecodeFull(f.HeaderBlockFragment())
			result[name] = fields[0].Value
		case *http2.PingFrame:
			if f.IsAck() && f.Data == lastPing {
				handled, missing = true, <-asked
				letGo()
			}
		}
		missing = slices.DeleteFunc(missing, func(name string) bool { return result[name] != "" })
	}
	go func() { _, _ = io.Copy(io.Discard, p.conn) }()
	return result
}

// player turns bytes into frames, and knows in what state they leave the streams.
type player struct {
	*peer
	state      map[uint32]string
	last       uint32
	overflowed bool
}

// step sends one frame. What the RFC lets a server choose is left out.
func (p *player) step(kind byte, arg uint32) error {
	id := arg % 16
	state := p.state[id]
	switch kind % 14 {
	case 0, 1: // A request, with or without an end.
		if id%2 == 1 && id <= p.last {
			return nil
		}
		end := kind%14 == 0
		p.last = max(p.last, id)
		p.state[id] = map[bool]string{true: "half", false: "open"}[end]
		return p.open(id, end, p.request("POST", "/"))
	case 2: // DATA.
		if p.isClosed(id) {
			return nil
		}
		return p.WriteData(id, false, []byte("data"))
	case 3: // The last DATA.
		if p.isClosed(id) {
			return nil
		}
		if state == "open" {
			p.state[id] = "half"
		}
		return p.WriteData(id, true, []byte("data"))
	case 4: // Cancellation.
		if p.neverOpened(id) {
			return nil
		}
		p.state[id] = "closed"
		return p.WriteRSTStream(id, http2.ErrCodeCancel)
	case 5: // Padded DATA.
		if p.isClosed(id) {
			return nil
		}
		return p.WriteDataPadded(id, false, []byte("data"), make([]byte, arg))
	case 6: // Trailers, or HEADERS where none may be.
		if state != "open" {
			return nil
		}
		p.state[id] = "half"
		return p.open(id, arg < 128, p.fields("x-trailer", "1"))
	case 7: // A window.
		return p.WriteWindowUpdate(id, arg*1000)
	case 8: // A window that overflows, at the second time if it was empty.
		p.refused(id)
		p.overflowed = true
		if err := p.WriteWindowUpdate(id, 1<<31-1); err != nil {
			return err
		}
		return p.WriteWindowUpdate(id, 1<<31-1)
	case 9: // SETTINGS.
		return p.settings(http2.SettingInitialWindowSize, arg<<(arg%24))
	case 10: // SETTINGS that are no good.
		return p.settings(http2.SettingID(arg%8), arg)
	case 11:
		return p.WritePing(false, [8]byte{byte(arg)})
	case 12: // A frame of odd size, or of no known type.
		kind, size := http2.FrameType(arg%12), arg%11
		switch kind {
		case http2.FrameData:
			if p.isClosed(id) {
				return nil
			}
		case http2.FramePriority, http2.FrameGoAway, http2.FrameHeaders:
			return nil
		case http2.FrameRSTStream:
			if size == 4 && p.neverOpened(id) {
				return nil
			}
			if size == 4 {
				p.state[id] = "closed"
			}
		case http2.FrameWindowUpdate:
			// No window on a stream that was never opened: net/http resets it, which
			// RFC 9113, 5.1 does not allow, and the engine ends the connection.
			if size == 4 && id > 0 && (id%2 == 0 || id > p.last) {
				return nil
			}
			p.refused(id)
		}
		return p.WriteRawFrame(kind, 0, id, make([]byte, size))
	default: // A header block in parts.
		if id%2 == 0 || id <= p.last {
			return nil
		}
		p.last, p.state[id] = id, "half"
		block := p.request("GET", "/")
		if err := p.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block[:2], EndStream: true}); err != nil {
			return err
		}
		return p.WriteContinuation(id, true, block[2:])
	}
}

// neverOpened reports whether a stream is one that the engine lets be cancelled before it was
// opened, since clients do that. net/http ends the connection, as RFC 9113 section 6.4 has it.
func (p *player) neverOpened(id uint32) bool { return id%2 == 1 && id > p.last && p.last > 0 }

// isClosed reports whether a stream was cancelled, or passed over by a later one. The engine
// counts what may still come on all streams that it has reset, and takes DATA there for a part
// of it.
func (p *player) isClosed(id uint32) bool {
	state := p.state[id]
	return id%2 == 1 && id <= p.last && (state == "" || state == "closed")
}

// settings sends a setting, but for windows once one has overflowed: to net/http the
// window of a stream that it has just reset can overflow again.
func (p *player) settings(id http2.SettingID, value uint32) error {
	if id == http2.SettingInitialWindowSize && p.overflowed {
		return nil
	}
	return p.WriteSettings(http2.Setting{ID: id, Val: value})
}

// refused notes that the server resets a stream. What follows on it may be ignored or
// not, as it comes before the reset has been sent or after.
func (p *player) refused(id uint32) {
	if state := p.state[id]; state == "open" || state == "half" {
		p.state[id] = "reset"
	}
}

// pipeTo serves one connection in memory.
func pipeTo(tb testing.TB, tr transport, handler http.Handler) (net.Conn, func()) {
	tb.Helper()
	ours, theirs := net.Pipe()
	if tr.engine {
		srv := h2.New(h2.Config{Handler: handler})
		go srv.ServeConn(theirs)
		return ours, func() {
			_ = ours.Close()
			if err := srv.Shutdown(context.Background()); err != nil {
				tb.Error(err)
			}
		}
	}
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	srv := &http.Server{Handler: handler, Protocols: protocols, ErrorLog: discardLog, DisableGeneralOptionsHandler: true}
	served := make(chan struct{})
	listener := &oneConn{conn: make(chan net.Conn, 1)}
	listener.conn <- theirs
	go func() { _ = srv.Serve(listener); close(served) }()
	return ours, func() {
		_ = ours.Close()
		close(listener.conn)
		_ = srv.Close()
		<-served
	}
}

var discardLog = log.New(io.Discard, "", 0)

// oneConn is a listener of one connection.
type oneConn struct{ conn chan net.Conn }

func (l *oneConn) Accept() (net.Conn, error) {
	if conn, ok := <-l.conn; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}
func (*oneConn) Close() error   { return nil }
func (*oneConn) Addr() net.Addr { return &net.TCPAddr{} }

// FuzzCalls makes gRPC calls with broken bodies of servers with a lane, and compares the
// answer with that of connecthttp.
func FuzzCalls(f *testing.F) {
	for _, call := range grpcCalls() {
		f.Add(call.body, call.header.Get("Grpc-Encoding") != "", call.header.Get("Content-Type") != "", uint8(10))
	}
	rpc := testRPC()
	mux := testMux(rpc)
	servers := []*h2.Server{
		h2.New(h2.Config{Handler: mux, Direct: testLane(rpc, nil)}),
		h2.New(h2.Config{Handler: mux, Direct: testLane(rpc, inline)}),
	}
	f.Cleanup(func() {
		for _, srv := range servers {
			if err := srv.Shutdown(context.Background()); err != nil {
				f.Error(err)
			}
		}
	})
	f.Fuzz(func(t *testing.T, body []byte, zipped, json bool, cut uint8) {
		if bytes.Contains(body, []byte("wait")) || bytes.Contains(body, []byte("panic")) || bytes.Contains(body, []byte("info")) {
			return // They answer with what differs, or not at all.
		}
		header := http.Header{"Content-Type": {"application/grpc"}}
		if zipped {
			header.Set("Grpc-Encoding", "gzip")
		}
		if json {
			header.Set("Content-Type", "application/grpc+json")
		}
		want := recordCall(mux, header, body)
		for _, srv := range servers {
			if diff := cmp.Diff(want, pipeCall(t, srv, header, body, int(cut))); diff != "" {
				t.Errorf("connecthttp -, lane +\n%s", diff)
			}
		}
	})
}

// recordCall makes a call of a handler.
func recordCall(handler http.Handler, header http.Header, body []byte) []string {
	req := httptest.NewRequest(http.MethodPost, procedure, bytes.NewReader(body))
	req.ProtoMajor, req.ProtoMinor = 2, 0
	req.Host = "x"
	req.Header = header.Clone()
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, req)
	resp := recorder.Result()
	return answerLines(resp.Header, recorder.Body.Bytes(), resp.Trailer)
}

// answerLines are what a response says, without what net/http adds. Where there is no
// body, the status of gRPC may be in the header as well as in the trailer.
func answerLines(header http.Header, body []byte, trailer http.Header) []string {
	var lines []string
	if len(body) == 0 {
		header = header.Clone()
		maps.Copy(header, trailer)
		trailer = nil
	}
	for _, fields := range []http.Header{header, trailer} {
		for _, key := range slices.Sorted(maps.Keys(fields)) {
			if !strings.HasPrefix(key, http.TrailerPrefix) && key != "X-Broken" && key != "Authorization" && key != "Date" {
				lines = append(lines, fmt.Sprint(key, fields[key]))
			}
		}
		lines = append(lines, "")
	}
	return append(lines, fmt.Sprintf("%q", body))
}

// pipeCall makes a call over a connection, its body cut into two frames.
func pipeCall(t *testing.T, srv *h2.Server, header http.Header, body []byte, cut int) []string {
	t.Helper()
	ours, theirs := net.Pipe()
	served := make(chan struct{})
	go func() { srv.ServeConn(theirs); close(served) }()
	p := newPeer(t, ours)
	answer := make(chan []string, 1)
	go func() { answer <- p.answer(t) }()
	p.preface(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
	p.must(p.WriteWindowUpdate(0, 1<<20))
	fields := []string{}
	for key, values := range header {
		fields = append(fields, strings.ToLower(key), values[0])
	}
	p.must(p.open(1, false, p.request("POST", procedure, fields...)))
	cut = min(cut, len(body))
	for rest := body[cut:]; ; rest = rest[16_000:] {
		if cut > 0 {
			_ = p.WriteData(1, false, body[:cut]) // The answer may come before the end.
			cut = 0
		}
		if len(rest) <= 16_000 {
			_ = p.WriteData(1, true, rest)
			break
		}
		_ = p.WriteData(1, false, rest[:16_000])
	}
	lines := <-answer
	_ = ours.Close()
	<-served
	return lines
}

// answer reads a response.
func (p *peer) answer(t *testing.T) []string {
	var body []byte
	var header http.Header
	for {
		f, err := p.ReadFrame()
		if err != nil {
			t.Errorf("no answer: %v", err)
			return nil
		}
		switch f := f.(type) {
		case *http2.DataFrame:
			body = append(body, f.Data()...)
		case *http2.HeadersFrame:
			fields, err := p.table.DecodeFull(f.HeaderBlockFragment())
			if err != nil {
				t.Error(err)
			}
			if header == nil {
				header = toHeader(fields)
			}
			if f.StreamEnded() {
				go func() { _, _ = io.Copy(io.Discard, p.conn) }()
				return answerLines(header, body, toHeader(fields))
			}
		}
	}
}

func toHeader(fields []hpack.HeaderField) http.Header {
	header := make(http.Header)
	for _, f := range fields {
		if f.Name != ":status" {
			header.Add(f.Name, f.Value)
		}
	}
	return header
}
