package h2_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// peer is a client that sends what frames it likes.
type peer struct {
	*http2.Framer
	tb    testing.TB
	conn  net.Conn
	block bytes.Buffer
	hpack *hpack.Encoder
	table *hpack.Decoder
}

// connect opens a connection, without a preface.
func connectTo(tb testing.TB, addr string) *peer {
	tb.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	return newPeer(tb, stirred{conn})
}

func newPeer(tb testing.TB, conn net.Conn) *peer {
	tb.Helper()
	tb.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(silence)); err != nil {
		tb.Fatal(err)
	}
	p := &peer{Framer: http2.NewFramer(conn, conn), tb: tb, conn: conn}
	p.AllowIllegalWrites, p.AllowIllegalReads = true, true
	p.hpack, p.table = hpack.NewEncoder(&p.block), hpack.NewDecoder(4096, nil)
	return p
}

// stirred is a connection on which something comes again and again: how long it lives is up to
// the machine.
type stirred struct{ net.Conn }

// silence is how long nothing comes on a connection that the server has forgotten.
const silence = 20 * time.Second

func (s stirred) Read(p []byte) (int, error) {
	if err := s.SetDeadline(time.Now().Add(silence)); err != nil {
		return 0, err
	}
	return s.Conn.Read(p)
}

// greet opens a connection and sends the preface and SETTINGS.
func greet(tb testing.TB, addr string, settings ...http2.Setting) *peer {
	tb.Helper()
	p := connectTo(tb, addr)
	p.preface(settings...)
	return p
}

func (p *peer) preface(settings ...http2.Setting) {
	p.tb.Helper()
	_, err := io.WriteString(p.conn, http2.ClientPreface)
	p.must(err)
	p.must(p.WriteSettings(settings...))
}

func (p *peer) must(err error) {
	p.tb.Helper()
	if err != nil {
		p.tb.Fatal(err)
	}
}

// fields encodes a header block from names and values.
func (p *peer) fields(namesAndValues ...string) []byte {
	p.block.Reset()
	for i := 0; i < len(namesAndValues); i += 2 {
		if err := p.hpack.WriteField(hpack.HeaderField{Name: namesAndValues[i], Value: namesAndValues[i+1]}); err != nil {
			p.tb.Fatal(err)
		}
	}
	return bytes.Clone(p.block.Bytes())
}

// request is the header block of a request.
func (p *peer) request(method, path string, more ...string) []byte {
	return p.fields(append([]string{":method", method, ":scheme", "http", ":authority", "x", ":path", path}, more...)...)
}

// open sends HEADERS.
func (p *peer) open(id uint32, end bool, block []byte) error {
	return p.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndStream: end, EndHeaders: true})
}

// goAway reads until the connection ends, and returns the code of the last GOAWAY.
func (p *peer) goAway() http2.ErrCode {
	p.tb.Helper()
	code := http2.ErrCode(0xff)
	for {
		f, err := p.ReadFrame()
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			p.tb.Fatal("the connection stays open")
		}
		if err != nil {
			return code
		}
		if f, ok := f.(*http2.GoAwayFrame); ok {
			code = f.ErrCode
		}
	}
}

// reset reads until a stream, or any if id is 0, is reset, and returns with which code.
func (p *peer) reset(id uint32) http2.ErrCode {
	p.tb.Helper()
	for {
		f, err := p.ReadFrame()
		p.must(err)
		if f, ok := f.(*http2.RSTStreamFrame); ok && (id == 0 || f.StreamID == id) {
			return f.ErrCode
		}
	}
}

// bodyOf reads a stream to its end, and returns what it has sent and whether it was reset.
func (p *peer) bodyOf(id uint32) (body []byte, reset bool) {
	p.tb.Helper()
	for {
		f, err := p.ReadFrame()
		p.must(err)
		switch f := f.(type) {
		case *http2.DataFrame:
			if body = append(body, f.Data()...); f.StreamID == id && f.StreamEnded() {
				return body, false
			}
		case *http2.RSTStreamFrame:
			if f.StreamID == id {
				return body, true
			}
		}
	}
}

// status reads the header of the response on a stream, and returns its status.
func (p *peer) status(id uint32) string {
	p.tb.Helper()
	for {
		f, err := p.ReadFrame()
		p.must(err)
		if f, ok := f.(*http2.HeadersFrame); ok {
			fields, err := p.table.DecodeFull(f.HeaderBlockFragment())
			p.must(err)
			if f.StreamID == id {
				return fields[0].Value
			}
		}
	}
}

// alive checks that the connection still answers.
func (p *peer) alive() {
	p.tb.Helper()
	data := [8]byte{'a', 'l', 'i', 'v', 'e'}
	p.must(p.WritePing(false, data))
	for {
		f, err := p.ReadFrame()
		p.must(err)
		if f, ok := f.(*http2.PingFrame); ok && f.IsAck() && f.Data == data {
			return
		}
	}
}
