package server

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// gatheredPipe is a connection whose peer has said how it speaks, and the peer.
func gatheredPipe(tb testing.TB, says string) (*gatheringConn, net.Conn) {
	tb.Helper()
	peer, inner := net.Pipe()
	conn := newGatheringConn(inner)
	tb.Cleanup(func() {
		_ = peer.Close()
		_ = conn.Close()
	})
	go func() { _, _ = io.WriteString(peer, says) }()
	if _, err := io.ReadFull(conn, make([]byte, len(says))); err != nil {
		tb.Fatal(err)
	}
	return conn, peer
}

func mustWrite(tb testing.TB, w io.Writer, p []byte) {
	tb.Helper()
	if n, err := w.Write(p); n != len(p) || err != nil {
		tb.Fatalf("wrote %d of %d bytes, error %v", n, len(p), err)
	}
}

// What goroutines that can run have to say leaves at once.
func TestWritesAreGathered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		conn, peer := gatheredPipe(t, http2Preface)
		mustWrite(t, conn, []byte("a"))
		synctest.Wait() // It is being written, and nobody reads.
		for _, text := range []string{"b", "c", "d"} {
			mustWrite(t, conn, []byte(text))
		}
		for _, want := range []string{"a", "bcd"} {
			p := make([]byte, 16)
			n, err := peer.Read(p)
			if got := string(p[:n]); got != want || err != nil {
				t.Errorf("one write is %q, error %v, want %q", got, err, want)
			}
			synctest.Wait()
		}
	})
}

// HTTP/1.1 is written as it was.
func TestHTTP1IsNotGathered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		conn, peer := gatheredPipe(t, "POST / HTTP/1.1\r\n")
		var written atomic.Bool
		go func() {
			_, _ = conn.Write([]byte("a"))
			written.Store(true)
		}()
		synctest.Wait()
		if written.Load() {
			t.Error("a write returns before it is done")
		}
		if _, err := peer.Read(make([]byte, 1)); err != nil {
			t.Error(err)
		}
	})
}

// A peer that does not read makes writers wait, and Close does not wait for it.
func TestGatheredBackpressure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		conn, _ := gatheredPipe(t, http2Preface)
		frame := make([]byte, 1<<10)
		var written atomic.Int64
		failed := make(chan error, 1)
		go func() {
			for {
				if _, err := conn.Write(frame); err != nil {
					failed <- err
					return
				}
				written.Add(int64(len(frame)))
			}
		}()
		synctest.Wait()
		if n := written.Load(); n < gatherBytes || n > 2*gatherBytes {
			t.Errorf("%d bytes wait", n)
		}
		time.Sleep(closeTimeout)
		start := time.Now()
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took > 0 {
			t.Errorf("closing takes %v", took)
		}
		if err := <-failed; !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, net.ErrClosed) {
			t.Errorf("the writer fails with %v", err)
		}
	})
}

// What was written before Close arrives.
func TestGatheredClose(t *testing.T) {
	t.Parallel()
	conn, peer := gatheredPipe(t, http2Preface)
	got := make(chan []byte, 1)
	go func() {
		all, _ := io.ReadAll(peer)
		got <- all
	}()
	mustWrite(t, conn, []byte("goodbye"))
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if all := <-got; string(all) != "goodbye" {
		t.Errorf("%q arrives", all)
	}
	if _, err := conn.Write([]byte("late")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("writing then fails with %v", err)
	}
}

// A write that has failed is told by the next one.
func TestGatheredFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		conn, peer := gatheredPipe(t, http2Preface)
		_ = peer.Close()
		mustWrite(t, conn, []byte("a"))
		synctest.Wait()
		if _, err := conn.Write([]byte("b")); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("writing fails with %v", err)
		}
		synctest.Wait()
	})
}

// Nothing is lost, doubled or torn, whatever the sizes and whoever writes.
func TestGatheredOrder(t *testing.T) {
	t.Parallel()
	conn, peer := gatheredPipe(t, http2Preface)
	got := make(chan []byte, 1)
	go func() {
		all, _ := io.ReadAll(peer)
		got <- all
	}()
	const writers, writes = 4, 200
	var writing sync.WaitGroup
	for w := range byte(writers) {
		writing.Go(func() {
			for i := range writes {
				size := (i*i*37)%(3*gatherBytes/2) + 2
				frame := bytes.Repeat([]byte{w}, size)
				frame[size-1] = 0xff // Its end.
				if _, err := conn.Write(frame); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writing.Wait()
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	var sizes [writers][]int
	for frame := range bytes.SplitAfterSeq(<-got, []byte{0xff}) {
		if len(frame) > 0 {
			sizes[frame[0]] = append(sizes[frame[0]], len(frame))
			if bytes.Count(frame, frame[:1]) != len(frame)-1 {
				t.Fatalf("a frame of writer %d is torn", frame[0])
			}
		}
	}
	for w, sizes := range sizes {
		for i, size := range sizes {
			if want := (i*i*37)%(3*gatherBytes/2) + 2; size != want {
				t.Fatalf("frame %d of writer %d has %d bytes, want %d", i, w, size, want)
			}
		}
		if len(sizes) != writes {
			t.Errorf("%d frames of writer %d arrive", len(sizes), w)
		}
	}
}

// Reads see the bytes as they come, in pieces of any size.
func TestGatheredReads(t *testing.T) {
	t.Parallel()
	conn, peer := gatheredPipe(t, http2Preface)
	want := bytes.Repeat([]byte("0123456789"), 10_000)
	go func() {
		for chunk := range slices.Chunk(want, 7_001) {
			_, _ = peer.Write(chunk)
		}
		_ = peer.Close()
	}()
	var got []byte
	for size := 1; ; size = size*3%20_011 + 1 {
		p := make([]byte, size)
		n, err := conn.Read(p)
		got = append(got, p[:n]...)
		if err != nil {
			if !errors.Is(err, io.EOF) {
				t.Error(err)
			}
			break
		}
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes arrive, want %d", len(got), len(want))
	}
}
