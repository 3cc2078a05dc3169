package h2

import (
	"testing"

	"golang.org/x/net/http2/hpack"
)

// FuzzHuffman compares with package hpack: what is decoded here is what it makes of it, and
// what paths most often have is decoded here.
func FuzzHuffman(f *testing.F) {
	f.Add([]byte("/user.v1.UserService/GetUser?connect=v1&encoding=proto&base64=1&message=CiQwMTk-_%7B%22"))
	f.Add([]byte{})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Add([]byte("~long|codes\x00\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, encoded := range [][]byte{data, hpack.AppendHuffmanString(nil, string(data))} {
			want, err := hpack.HuffmanDecodeToString(encoded)
			got, ok := decodeHuffman(nil, encoded)
			if ok && (err != nil || string(got) != want) {
				t.Fatalf("%q of %x, and %q, %v by hpack", got, encoded, want, err)
			}
			if !ok && err == nil && !hasLongCode(want) {
				t.Fatalf("%q of %x is not decoded", want, encoded)
			}
		}
	})
}

func hasLongCode(text string) bool {
	for i := range len(text) {
		if int(hpack.HuffmanEncodeLength(text[i:i+1]+text[i:i+1]+text[i:i+1]+text[i:i+1])) > shortBits/2 {
			return true
		}
	}
	return false
}

func BenchmarkDecodePath(b *testing.B) {
	encoded := encodedString{huffman: true, data: hpack.AppendHuffmanString(nil,
		"/user.v1.UserService/GetUser?connect=v1&encoding=proto&base64=1&message=CiQwMTkzZTVjYS0xMjM0LTdhYmMtOGRlZi0wMTIzNDU2Nzg5YWI")}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := encoded.text(); !ok {
			b.Fatal("broken")
		}
	}
}
