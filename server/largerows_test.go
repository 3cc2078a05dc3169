//go:build unix

package server_test

import (
	"encoding/binary"
	"runtime"
	"testing"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/proto"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/server/servertest"
	"github.com/example/userd/server/wire"
)

// A row that is too large is refused when its length is here, and not when it is.
func TestLargeRowIsRefusedByItsLength(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, nil)
	for _, method := range []string{"BatchCreateUsers", "StreamUserUpdates"} {
		for size, want := range map[uint32]string{wire.MaxRowBytes + 1: "8", 1<<32 - 1: "8"} {
			raw, _ := dialRaw(t, running)
			raw.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
			raw.call(1, "/user.v1.UserService/"+method)
			raw.must(raw.framer.WriteData(1, false, binary.BigEndian.AppendUint32([]byte{0}, size)))
			end := awaitFrame(raw, func(frame *http2.MetaHeadersFrame) bool { return frame.StreamEnded() })
			if got := fieldOf(end, "grpc-status"); got != want {
				t.Errorf("%s: status for a row of %d bytes is %s, want %s", method, size, got, want)
			}
		}
	}
}

// The largest row that is taken has no valid user, but an answer of its own, and the
// stream goes on.
func TestLargestRowIsTaken(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, nil)
	row := &userv1.CreateUserRequest{DisplayName: string(make([]byte, wire.MaxRowBytes-4))}
	if size := proto.Size(row); size != wire.MaxRowBytes {
		t.Fatalf("row has %d bytes", size)
	}
	got, err := importRows(t.Context(), running.Client(t, grpcBinary.options...), []*userv1.CreateUserRequest{row, newUserRequest(1)})
	if err != nil || got.GetFailureCount() != 1 || got.GetSuccessCount() != 1 {
		t.Errorf("response is %v, error %v", got, err)
	}
}

// A row that is small until it is unpacked takes no more memory than others.
// TestPackedRows measures the whole process: nothing else may run.
func TestPackedRows(t *testing.T) { // Alone: it measures.
	const (
		streams = 50
		// maxPerStream is less than the row unpacked. The race detector has most decoders
		// made anew.
		maxPerStream = 10 << 20
	)
	running := servertest.Start(t, nil)
	for encoding, pack := range map[string]func(testing.TB, []byte) []byte{"gzip": gzipped, "zstd": zstandard} {
		packed := pack(t, make([]byte, 15<<20))
		client := running.Client(t, grpcBinary.with(connecthttp.WithCompressors(packedAs{encoding, packed}), connecthttp.WithSendCompression(encoding))...)
		refused := func() {
			_, err := importRows(t.Context(), client, []*userv1.CreateUserRequest{newUserRequest(1)})
			if connect.CodeOf(err) != connect.CodeResourceExhausted {
				t.Errorf("%s: error is %v", encoding, err)
			}
		}
		refused() // Makes what is kept for others.
		runtime.GC()
		before := allocated()
		for range streams {
			refused()
		}
		if each := (allocated() - before) / streams; each > maxPerStream {
			t.Errorf("%s: a stream allocates %d bytes, want at most %d", encoding, each, maxPerStream)
		}
	}
}
