package webtext

import (
	"bytes"
	"encoding/base64"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// What was encoded in chunks of any size is decoded, however it arrives.
func FuzzReader(f *testing.F) {
	f.Add([]byte("a user service"), uint8(5))
	f.Add(bytes.Repeat([]byte("0123456789"), 110), uint8(0)) // More than is read at a time.
	f.Add([]byte{}, uint8(0))
	f.Fuzz(func(t *testing.T, want []byte, size uint8) {
		var text bytes.Buffer
		for rest := want; len(rest) > 0; {
			chunk := rest[:min(len(rest), int(size)+1)]
			text.WriteString(base64.StdEncoding.EncodeToString(chunk))
			rest = rest[len(chunk):]
		}
		for name, arriving := range map[string]func(io.Reader) io.Reader{
			"at once": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader, "with its end": iotest.DataErrReader,
		} {
			got, err := io.ReadAll(&reader{src: arriving(bytes.NewReader(text.Bytes()))})
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: decoded %q, error %v, want %q", name, got, err, want)
			}
		}
	})
}

// A text is decoded group by group, and what is no group is an error.
func FuzzReaderOfAnything(f *testing.F) {
	for _, text := range []string{"", "AAAA", "AA==AA==", "A", "====", "AA=A", "A===", "{}", "AA\n=="} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := io.ReadAll(&reader{src: strings.NewReader(text)})
		if strings.ContainsAny(text, "\r\n") {
			return // Package base64 skips these, wherever they stand.
		}
		want, wantErr := decodeGroups(text)
		if (err == nil) != (wantErr == nil) || err == nil && !bytes.Equal(got, want) {
			t.Errorf("decoded %q, error %v, want %q, error %v", got, err, want, wantErr)
		}
	})
}

func decodeGroups(text string) ([]byte, error) {
	var decoded []byte
	for len(text) > 0 {
		group := text[:min(4, len(text))]
		part, err := base64.StdEncoding.DecodeString(group)
		if err != nil {
			return nil, err
		}
		decoded, text = append(decoded, part...), text[len(group):]
	}
	return decoded, nil
}
