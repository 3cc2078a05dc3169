package packing

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"sync"

	"connectrpc.com/connect/v2"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/example/userd/server/failure"
)

// maxZstdWindow bounds the memory that a peer's zstd frame can ask for, in bytes.
// It is the window that RFC 8878 tells every decoder to support.
const maxZstdWindow = 8 << 20

// CompressMinBytes is the size below which a response is not worth compressing.
const CompressMinBytes = 1 << 10

// maxGzipRatio is how much larger than its compressed form a gzip message can be:
// a little less than 1032 times, by the format.
const maxGzipRatio = 1032

// Compressors are those that callers can choose, the preferred first.
func Compressors() []connect.Compressor {
	return []connect.Compressor{&zstdCompressor{}, &gzipCompressor{}}
}

// MeasuredCompressors are Compressors that unpack no message that is larger than maxBytes,
// and have large ones counted by a budget while they do.
func MeasuredCompressors(maxBytes int, budget *Budget) []connect.Compressor {
	return []connect.Compressor{
		measured{Compressor: &zstdCompressor{}, maxBytes: int64(maxBytes), budget: budget},
		measured{Compressor: &gzipCompressor{}, maxBytes: int64(maxBytes), budget: budget, ratio: maxGzipRatio},
	}
}

// measured unpacks a message that could be large to nowhere first, and to memory only if
// there is room for it: a bomb costs a few milliseconds and no memory. Without that,
// Connect fills a buffer up to the limit before it refuses.
type measured struct {
	connect.Compressor
	maxBytes int64
	budget   *Budget
	ratio    int64 // Bound of the format, or 0 where it has none.
}

func (m measured) Decompress(src io.Reader) (io.ReadCloser, error) {
	packed, ok := src.(*bytes.Buffer)
	if !ok || m.ratio > 0 && int64(packed.Len())*m.ratio <= largeBytes {
		return m.Compressor.Decompress(src)
	}
	size, err := m.measure(packed.Bytes())
	if err != nil {
		return nil, err
	}
	hold := &Hold{budget: m.budget, whole: true}
	if err := hold.Received(int(size), nil); err != nil {
		return nil, err
	}
	reader, err := m.Compressor.Decompress(src)
	if err != nil {
		hold.Release()
		return nil, err
	}
	return &countedReader{reader, hold}, nil
}

// measure is the size of a message, unpacked.
func (m measured) measure(packed []byte) (int64, error) {
	reader, err := m.Compressor.Decompress(bytes.NewReader(packed))
	if err != nil {
		return 0, err
	}
	defer reader.Close()
	size, err := io.Copy(io.Discard, io.LimitReader(reader, m.maxBytes+1))
	if err == nil && size > m.maxBytes {
		err = failure.ErrMessageTooLarge
	}
	return size, err
}

// countedReader counts a message until it is unpacked. Then the codec does.
type countedReader struct {
	io.ReadCloser
	hold *Hold
}

func (r *countedReader) Close() error {
	r.hold.Release()
	return r.ReadCloser.Close()
}

// gzipCompressor pools readers and writers, which are large.
type gzipCompressor struct {
	readers, writers sync.Pool
}

func (c *gzipCompressor) Name() string { return connect.CompressionNameGzip }

func (c *gzipCompressor) Compress(dst io.Writer) (io.WriteCloser, error) {
	writer, ok := c.writers.Get().(*gzip.Writer)
	if !ok {
		writer, _ = gzip.NewWriterLevel(dst, gzip.BestSpeed)
	}
	writer.Reset(dst)
	return &pooledWriter{WriteCloser: writer, release: func() { c.writers.Put(writer) }}, nil
}

func (c *gzipCompressor) Decompress(src io.Reader) (io.ReadCloser, error) {
	reader, ok := c.readers.Get().(*gzip.Reader)
	if !ok {
		reader = new(gzip.Reader)
	}
	if err := reader.Reset(src); err != nil {
		return nil, damaged(err)
	}
	return &pooledReader{reader: reader, release: func() { c.readers.Put(reader) }}, nil
}

// zstdCompressor pools decoders and encoders. They run on the caller's goroutine,
// so that what a request costs is bounded by its own limits.
type zstdCompressor struct {
	readers, writers sync.Pool
}

func (c *zstdCompressor) Name() string { return connect.CompressionNameZstd }

func (c *zstdCompressor) Compress(dst io.Writer) (io.WriteCloser, error) {
	writer, ok := c.writers.Get().(*zstd.Encoder)
	if !ok {
		var err error
		writer, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1),
			zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithLowerEncoderMem(true))
		if err != nil {
			return nil, err
		}
	}
	writer.Reset(dst)
	return &pooledWriter{WriteCloser: writer, release: func() { c.writers.Put(writer) }}, nil
}

// zstdTurns has a place for each decoder that works. Each may hold a window of maxZstdWindow,
// for which a frame of twenty bytes can ask, so there are no more than processors. Messages
// are in memory when they are unpacked: none waits for a caller.
var zstdTurns = make(chan struct{}, runtime.GOMAXPROCS(0))

func (c *zstdCompressor) Decompress(src io.Reader) (io.ReadCloser, error) {
	zstdTurns <- struct{}{}
	reader, err := c.decoder(src)
	if err != nil {
		<-zstdTurns
		return nil, err
	}
	return &pooledReader{reader: reader, release: func() {
		_ = reader.Reset(nil) // Lets go of src; fails for no nil reader.
		c.readers.Put(reader)
		<-zstdTurns
	}}, nil
}

func (c *zstdCompressor) decoder(src io.Reader) (*zstd.Decoder, error) {
	reader, ok := c.readers.Get().(*zstd.Decoder)
	if !ok {
		var err error
		reader, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxZstdWindow),
			zstd.WithDecodeBuffersBelow(0)) // Else a small input is decoded whole, whatever it becomes.
		if err != nil {
			return nil, err
		}
	}
	return reader, reader.Reset(src)
}

type pooledWriter struct {
	io.WriteCloser
	release func()
}

func (w *pooledWriter) Close() error {
	err := w.WriteCloser.Close()
	w.release()
	return err
}

type pooledReader struct {
	reader  io.Reader
	release func()
}

func (r *pooledReader) Read(p []byte) (int, error) {
	n, err := r.reader.Read(p)
	return n, damaged(err)
}

// damaged is an error of a decompressor, all of whose input is in memory.
func damaged(err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return fmt.Errorf("%w: %w", failure.ErrDamaged, err)
}

func (r *pooledReader) Close() error {
	r.release()
	return nil
}
