package rows

import (
	"bufio"
	"io"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// window is the most that a compressed file may look back, in bytes.
const window = 128 << 20

// Decompress reads what a file of this name holds.
func Decompress(name string, in io.Reader) (io.Reader, error) {
	switch {
	case strings.HasSuffix(name, ".gz"):
		return gzip.NewReader(in)
	case strings.HasSuffix(name, ".zst"):
		return zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(window))
	}
	return in, nil
}

// mark is what some programs begin a text with to say that it is UTF-8.
const mark = "\ufeff"

// withoutMark reads a text behind its mark, if it has one.
func withoutMark(in io.Reader) io.Reader {
	text := bufio.NewReader(in)
	if start, _ := text.Peek(len(mark)); string(start) == mark { // What is wrong with a shorter one its reader finds.
		_, _ = text.Discard(len(mark)) // It is there.
	}
	return text
}

// Compress writes as a file of this name holds it. Close ends it, and leaves out open.
func Compress(name string, out io.Writer) (io.WriteCloser, error) {
	switch {
	case strings.HasSuffix(name, ".gz"):
		return gzip.NewWriter(out), nil
	case strings.HasSuffix(name, ".zst"):
		return zstd.NewWriter(out)
	}
	return plain{out}, nil
}

// plain is a writer that nothing has to end.
type plain struct{ io.Writer }

func (plain) Close() error { return nil }
