package rows

import (
	"bufio"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// window is the most that a compressed file may look back, in bytes.
const window = 128 << 20

// Decompress reads what a file of this name holds. A compressed one is never empty: it has at
// least an end.
func Decompress(name string, in io.Reader) (io.Reader, error) {
	zipped, zstandard := strings.HasSuffix(name, ".gz"), strings.HasSuffix(name, ".zst")
	if !zipped && !zstandard {
		return in, nil
	}
	compressed := bufio.NewReader(in)
	if _, err := compressed.Peek(1); err != nil {
		return nil, early(err)
	}
	if zipped {
		return gzip.NewReader(compressed)
	}
	return zstd.NewReader(compressed, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(window))
}

// mark is what some programs begin a text with to say that it is UTF-8.
const mark = "\ufeff"

// utf16Marks are the same of a text that is UTF-16, as older shells of Windows write files.
var utf16Marks = []string{"\xff\xfe", "\xfe\xff"}

// withoutMark reads a text behind its mark, if it has one.
func withoutMark(in io.Reader) (io.Reader, error) {
	text := bufio.NewReader(in)
	start, _ := text.Peek(len(mark)) // What is wrong with a shorter one its reader finds.
	if string(start) == mark {
		_, _ = text.Discard(len(mark)) // It is there.
	}
	if slices.ContainsFunc(utf16Marks, func(mark string) bool { return strings.HasPrefix(string(start), mark) }) {
		return nil, errors.New("the file is UTF-16: save it as UTF-8")
	}
	return text, nil
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
