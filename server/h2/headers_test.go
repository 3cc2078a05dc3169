package h2

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// FuzzHeaders decodes two header blocks of one connection and compares with what
// net/http makes of them, whose frames are those of golang.org/x/net.
func FuzzHeaders(f *testing.F) {
	encode := func(fields ...string) []byte {
		var b bytes.Buffer
		encoder := hpack.NewEncoder(&b)
		for i := 0; i < len(fields); i += 2 {
			_ = encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
		}
		return b.Bytes()
	}
	request := []string{":method", "GET", ":scheme", "http", ":authority", "x", ":path", "/"}
	f.Add(encode(request...), []byte{0x82, 0x86, 0xbe, 0x84})
	f.Add(encode(append(request, "te", "gzip")...), encode(append(request, "x", "y\n")...))
	f.Add(encode(append(request, "X", "y")...), encode("x", "y", ":method", "GET"))
	f.Add(encode(append(request, "connection", "close")...), encode(append(request, ":path", "/")...))
	f.Add(encode(append(request, "content-length", "-1")...), encode(":method", "CONNECT", ":authority", "x"))
	f.Add(encode(append(request, "x-bomb", strings.Repeat("x", 3000))...), bytes.Repeat([]byte{0x80 | 62}, 400))
	f.Add([]byte{0x3f, 0xe1, 0x1f, 0x82}, []byte{0x20, 0x3f, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, first, second []byte) {
		const limit = 64 << 10
		ours := newDecoder(limit)
		var frames bytes.Buffer
		theirs := http2.NewFramer(&frames, &frames)
		theirs.ReadMetaHeaders = hpack.NewDecoder(tableSize, nil)
		theirs.MaxHeaderListSize = limit
		for i, block := range [][]byte{first, second} {
			if len(block) > maxFrameSize {
				return
			}
			if err := theirs.WriteHeaders(http2.HeadersFrameParam{
				StreamID: uint32(2*i + 1), BlockFragment: block, EndHeaders: true, EndStream: true,
			}); err != nil {
				t.Fatal(err)
			}
			want, wantErr := theirs.ReadFrame()
			got, err := ours.decode(block)
			var broken http2.ConnectionError
			if errors.As(wantErr, &broken) {
				if err == nil && got.malformed == "" && !got.tooLarge {
					t.Fatalf("block %d: net/http says %v, we take %+v", i, wantErr, got)
				}
				return
			}
			if err != nil && wantErr != nil {
				return // net/http stops decoding at the first thing that is wrong.
			}
			if err != nil {
				if meta := want.(*http2.MetaHeadersFrame); meta.Truncated {
					return // It reads no text behind what is too large.
				}
				t.Fatalf("block %d: net/http takes %+v, we say %v", i, want, err)
			}
			compareHeads(t, want, wantErr, got)
		}
	})
}

func compareHeads(t *testing.T, frame http2.Frame, frameErr error, got *head) {
	t.Helper()
	if frameErr != nil {
		if got.malformed == "" && !got.tooLarge {
			t.Fatalf("net/http says %v, we take %+v", frameErr, got)
		}
		return
	}
	want := frame.(*http2.MetaHeadersFrame)
	if want.Truncated || got.tooLarge {
		return // Where exactly does not matter.
	}
	switch got.malformed {
	case "":
	case "field of HTTP/1.1 connections", "te is not trailers", "invalid content-length":
		return // net/http takes these, or refuses them later.
	case "unknown pseudo field":
		if want.PseudoValue("protocol") != "" || slices.ContainsFunc(want.Fields, func(f hpack.HeaderField) bool {
			return f.Name == ":status" || f.Name == ":protocol"
		}) {
			return
		}
		fallthrough
	default:
		t.Fatalf("net/http takes %+v, we say %s", want.Fields, got.malformed)
	}
	for name, value := range map[string]string{"method": got.Method, "scheme": got.scheme, "authority": got.Authority, "path": got.Path} {
		if value != want.PseudoValue(name) {
			t.Fatalf("%s is %q, not %q", name, value, want.PseudoValue(name))
		}
	}
	if !slices.Equal(want.RegularFields(), got.Fields) {
		t.Fatalf("fields are %v, not %v", got.Fields, want.RegularFields())
	}
}

// FuzzEncoder checks that a peer decodes what the encoder makes, whatever sizes of
// its table it asks for on the way.
func FuzzEncoder(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 0, 1, 2, 3}, uint16(4096))
	f.Add([]byte{0, 0, 0, 200, 0, 0, 1, 201, 1, 1}, uint16(0))
	f.Add([]byte{100, 101, 100, 101, 103, 100, 50, 51, 53, 50, 200, 50, 51}, uint16(4096))
	more := []hpack.HeaderField{{Name: "etag", Value: "z", Sensitive: true}, {Name: "vary", Value: "x"}, {Name: "x-size", Value: "1", Sensitive: true}}
	blocks := []*SharedFields{
		ShareFields("Grpc-Status", "0"),
		{fields: []hpack.HeaderField{{Name: ":status", Value: "200"}, {Name: "content-type", Value: "application/grpc"}}},
		{fields: []hpack.HeaderField{{Name: "x-large", Value: strings.Repeat("x", 2000)}}},
		{fields: []hpack.HeaderField{{Name: "x-small", Value: "y"}, {Name: "etag", Value: "z", Sensitive: true}}},
	}
	f.Fuzz(func(t *testing.T, script []byte, size uint16) {
		e, d := newEncoder(), hpack.NewDecoder(tableSize, nil)
		for _, step := range script {
			if step >= 200 {
				e.resize(uint32(size) >> (step - 200) % 16)
				continue
			}
			shared := blocks[int(step)%len(blocks)]
			fields, want := Fields{Shared: shared}, shared.fields
			switch {
			case step >= 100:
				fields = Fields{More: want}
			case step >= 50:
				fields.More, want = more, slices.Concat(want, more)
			}
			got, err := d.DecodeFull(e.encode(fields))
			if err != nil || !slices.Equal(got, want) {
				t.Fatalf("decoded %v, %v, not %v", got, err, want)
			}
		}
	})
}

// What says how to answer may come after the field that is too large.
func TestFieldsAfterALargeOneAreKept(t *testing.T) {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, f := range []hpack.HeaderField{
		{Name: ":method", Value: "POST"},
		{Name: ":scheme", Value: "http"},
		{Name: ":path", Value: "/"},
		{Name: "x-large", Value: strings.Repeat("x", 2000)},
		{Name: "content-type", Value: "application/grpc"},
	} {
		if err := encoder.WriteField(f); err != nil {
			t.Fatal(err)
		}
	}
	h, err := newDecoder(1000).decode(block.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	want := []hpack.HeaderField{{Name: "content-type", Value: "application/grpc"}}
	if !h.tooLarge || !slices.Equal(h.Fields, want) {
		t.Errorf("too large: %t, fields %v, want %v", h.tooLarge, h.Fields, want)
	}
}
