package h2_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/example/userd/server/h2"
)

// smallHeader is the largest header that the tests of paths have served, in bytes.
const smallHeader = 1000

// TestPathsOfKnownHeaders sends a header that has come before, but for its path, and expects
// what becomes of it where it is the first of its connection.
func TestPathsOfKnownHeaders(t *testing.T) {
	t.Parallel()
	long := "/" + strings.Repeat("long~", 40)
	srv := startEngine(t, h2.Config{
		Direct: pathEcho{}, MaxHeaderBytes: smallHeader,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, "handler ", r.RequestURI) }),
	})
	for name, path := range map[string][]byte{
		"never indexed":          literal(0x14, "/b?c", false),
		"not indexed":            literal(0x04, "/b?c", false),
		"by the other name":      literal(0x15, "/b?c", false),
		"Huffman":                literal(0x14, "/b?c", true),
		"long":                   literal(0x14, long, false),
		"long, Huffman":          literal(0x14, long, true),
		"a reference":            {0x84},
		"of another name":        literal(0x16, "/b", false),
		"too large":              literal(0x14, "/"+strings.Repeat("x", smallHeader), false),
		"empty":                  literal(0x14, "", false),
		"left to the Handler":    literal(0x14, "/handler", false),
		"with a line end":        literal(0x14, "/b\n", false),
		"missing":                nil,
		"without a length":       {0x14},
		"longer than the block":  literal(0x14, "/b?c", false)[:3],
		"with an endless length": {0x14, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
		"broken Huffman":         {0x14, 0x81, 0x00},
		"with more behind it":    slices.Concat(literal(0x14, "/b", false), literal(0x10, "x", false), []byte{1, 'y'}),
		"twice":                  slices.Concat(literal(0x14, "/b", false), literal(0x14, "/c", false)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := greet(t, srv.addr).ask(1, path)
			p := greet(t, srv.addr)
			for id := uint32(1); id < 5; id += 2 {
				if got := p.ask(id, literal(0x14, "/a", false)); got != "/a as [1]" {
					t.Fatal(got)
				}
			}
			if got := p.ask(5, path); got != want {
				t.Errorf("%s, and as the first header of a connection %s", got, want)
			}
		})
	}
}

// TestHeadersThatTakeTurns has two callers share a connection, as behind a proxy: the header
// of each is still known when the other's has come, whose path is not in the table either.
func TestHeadersThatTakeTurns(t *testing.T) {
	t.Parallel()
	p := greet(t, startEngine(t, h2.Config{Direct: likeEcho{}, Handler: http.NotFoundHandler()}).addr)
	for id := uint32(1); id < 16; id += 2 {
		caller := fmt.Sprint(id / 2 % 2)
		want := fmt.Sprint("like ", caller)
		if id < 8 { // The table knows all of it after the first time, and the engine after the second.
			want = "like"
		}
		if got := p.askAs(id, caller, literal(0x14, fmt.Sprint("/", id), false)); !strings.HasPrefix(got, want) {
			t.Errorf("stream %d of caller %s is %q", id, caller, got)
		}
	}
}

// likeEcho answers with the caller of the route that a header is like.
type likeEcho struct{ pathEcho }

func (likeEcho) Route(_ context.Context, head *h2.Head, like h2.Route) h2.Route {
	if like, ok := like.(known); ok {
		return known{pathEcho{"like " + like.caller}, like.caller}
	}
	return known{pathEcho{"like none"}, head.Fields[0].Value}
}

// known is a route that knows its caller.
type known struct {
	pathEcho
	caller string
}

// literal is a string that follows what begins a field.
func literal(first byte, text string, huffman bool) []byte {
	const long = 0x7f
	data, flag := []byte(text), byte(0)
	if huffman {
		data, flag = hpack.AppendHuffmanString(nil, text), 0x80
	}
	b := []byte{first, flag | byte(min(len(data), long))}
	if len(data) >= long {
		b = binary.AppendUvarint(b, uint64(len(data)-long))
	}
	return append(b, data...)
}

// ask sends a request whose header is the same but for its path, and returns what becomes
// of it.
func (p *peer) ask(id uint32, path []byte) string {
	p.tb.Helper()
	return p.askAs(id, "1", path)
}

// askAs is ask for one of several callers, whose headers differ.
func (p *peer) askAs(id uint32, caller string, path []byte) string {
	p.tb.Helper()
	before, after := p.fields(":method", "GET", ":scheme", "http", ":authority", "x"), p.fields("x-known", caller)
	p.must(p.open(id, true, slices.Concat(before, path, after)))
	for body := ""; ; {
		f, err := p.ReadFrame()
		p.must(err)
		switch f := f.(type) {
		case *http2.HeadersFrame:
			fields, err := p.table.DecodeFull(f.HeaderBlockFragment())
			p.must(err)
			body += strings.TrimPrefix(fields[0].Value, "200")
		case *http2.DataFrame:
			body += string(f.Data())
		case *http2.RSTStreamFrame:
			return f.ErrCode.String()
		case *http2.GoAwayFrame:
			return f.ErrCode.String() + " of the connection"
		}
		if f.Header().StreamID == id && f.Header().Flags.Has(http2.FlagDataEndStream) {
			return body
		}
	}
}

// pathEcho answers with the path of a request and what else is known of it, and leaves
// "/handler" to the Handler.
type pathEcho struct{ answer string }

func (pathEcho) Route(_ context.Context, head *h2.Head, _ h2.Route) h2.Route {
	if head.Path == "/handler" {
		return nil
	}
	var values []string
	for _, f := range head.Fields {
		values = append(values, f.Value)
	}
	return pathEcho{fmt.Sprint(head.Path, " as ", values)}
}

func (e pathEcho) Open(string, []byte) h2.Call { return e }

func (pathEcho) Ready(context.Context) bool { return true }

func (e pathEcho) Serve(context.Context) *h2.Answer {
	a := &h2.Answer{Body: []byte(e.answer)}
	a.Header.SetStatus("200")
	return a
}

func (pathEcho) Wait(func()) *h2.Answer { return nil }

func (pathEcho) Release() {}
