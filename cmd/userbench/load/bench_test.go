package load

import (
	"bytes"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/proto"

	"github.com/example/userd/cmd/userbench/population"
	userv1 "github.com/example/userd/gen/user/v1"
)

// BenchmarkGenerator runs the generator against a server that does nothing but copy
// bytes, in the same process. A call costs the generator less than what is reported,
// which has the server's part in it; a server that needs as much as the generator
// on another processor is the fastest that can be measured.
func BenchmarkGenerator(b *testing.B) {
	users := population.New(1, 1, 150)
	address := serveCanned(b, users.User(0))
	g, err := Dial(Target{
		Address: address, Wire: Wire{Protocol: GRPC, Codec: Proto}, Read: GetUser(users, Proto), Keys: Uniform(1),
	})
	if err != nil {
		b.Fatal(err)
	}
	defer g.Close()
	b.ReportAllocs()
	var calls int64
	before, began := processorTime(b), time.Now()
	for b.Loop() {
		r := g.Closed(50 * time.Millisecond)
		if r.Failed > 0 {
			b.Fatal(r.Failure)
		}
		calls += r.Latency.TotalCount()
	}
	b.ReportMetric(float64((processorTime(b)-before).Nanoseconds())/float64(calls), "cpu-ns/call")
	b.ReportMetric(float64(calls)/time.Since(began).Seconds(), "calls/s")
}

func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// serveCanned answers every request with the same user.
func serveCanned(b *testing.B, user *userv1.User) string {
	b.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { listener.Close() })
	message, err := proto.Marshal(&userv1.GetUserResponse{User: user})
	if err != nil {
		b.Fatal(err)
	}
	body := append(AppendPrefix(nil, len(message)), message...)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if err := answerAll(conn, body); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
					b.Errorf("canned server: %v", err)
				}
			}()
		}
	}()
	return listener.Addr().String()
}

// answerAll answers all requests that one read has brought with one write.
func answerAll(conn net.Conn, body []byte) error {
	if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
		return err
	}
	var out, block bytes.Buffer
	framer, encoder := http2.NewFramer(&out, nil), hpack.NewEncoder(&block)
	requests := &frameReader{from: conn}
	err := framer.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 100})
	for err == nil {
		if !requests.ready() {
			_, err = conn.Write(out.Bytes())
			out.Reset()
		}
		f, readErr := requests.read()
		if readErr != nil {
			return readErr
		}
		if f.kind != http2.FrameData {
			continue
		}
		headers := func(end bool, fields ...hpack.HeaderField) {
			block.Reset()
			for _, field := range fields {
				_ = encoder.WriteField(field) // A buffer takes everything.
			}
			_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: f.stream, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: end})
		}
		headers(false, hpack.HeaderField{Name: ":status", Value: "200"}, hpack.HeaderField{Name: "content-type", Value: "application/grpc+proto"})
		_ = framer.WriteData(f.stream, false, body)
		headers(true, hpack.HeaderField{Name: "grpc-status", Value: "0"})
		_ = framer.WriteWindowUpdate(0, uint32(len(f.payload)))
	}
	return err
}
