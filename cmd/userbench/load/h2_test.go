package load

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/proto"

	"github.com/example/userd/cmd/userbench/population"
	userv1 "github.com/example/userd/gen/user/v1"
)

// strictServer is an HTTP/2 server of golang.org/x/net's Framer that gives small
// windows, answers with header blocks that change its table, splits and pads what
// it sends, and fails the test on anything that is not as it should be.
type strictServer struct {
	t        *testing.T
	users    map[string]*userv1.User
	settings []http2.Setting
	calls    atomic.Int64
}

const tinyWindow = 100 // Of the connection: two requests.

func (s *strictServer) start() string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		if err := s.serve(conn); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
			s.t.Errorf("server: %v", err)
		}
	}()
	s.t.Cleanup(func() {
		listener.Close()
		<-served
	})
	return listener.Addr().String()
}

func (s *strictServer) serve(conn net.Conn) error {
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(conn, preface); err != nil || string(preface) != http2.ClientPreface {
		return errors.New("no preface")
	}
	var out bytes.Buffer
	framer := http2.NewFramer(&out, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if err := framer.WriteSettings(s.settings...); err != nil {
		return err
	}
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	window, paths := 65_535, make(map[uint32]string)
	for {
		if _, err := conn.Write(out.Bytes()); err != nil {
			return err
		}
		out.Reset()
		f, err := framer.ReadFrame()
		if err != nil {
			return err
		}
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			paths[f.StreamID] = f.PseudoValue("path")
		case *http2.DataFrame:
			if paths[f.StreamID] != "/user.v1.UserService/GetUser" {
				return errors.New("path " + paths[f.StreamID])
			}
			if err := shrink(&window, framer, len(f.Data())); err != nil {
				return err
			}
			if err := s.respond(framer, encoder, &block, f.StreamID, f.Data()); err != nil {
				return err
			}
		}
	}
}

// shrink takes what the client has sent from the connection's window, and gives it
// a little when hardly anything is left.
func shrink(window *int, framer *http2.Framer, sent int) error {
	if *window -= sent; *window < 0 {
		return errors.New("the client has overrun the window")
	}
	if *window >= tinyWindow {
		return nil
	}
	*window += tinyWindow
	return framer.WriteWindowUpdate(0, tinyWindow)
}

// respond answers in four frames: headers in two, data with padding, trailers.
func (s *strictServer) respond(framer *http2.Framer, encoder *hpack.Encoder, block *bytes.Buffer, stream uint32, body []byte) error {
	var req userv1.GetUserRequest
	if err := proto.Unmarshal(body[grpcPrefix:], &req); err != nil {
		return err
	}
	calls := s.calls.Add(1)
	block.Reset()
	for _, field := range []hpack.HeaderField{
		{Name: ":status", Value: "200"},
		{Name: "content-type", Value: "application/grpc+proto"},
		{Name: "x-call", Value: time.Duration(calls).String()}, // Evicts the others in time.
	} {
		if err := encoder.WriteField(field); err != nil {
			return err
		}
	}
	half := block.Len() / 2
	message, err := proto.Marshal(&userv1.GetUserResponse{User: s.users[req.GetUserId()]})
	if err != nil {
		return err
	}
	data := append(AppendPrefix(nil, len(message)), message...)
	err = errors.Join(
		framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes()[:half]}),
		framer.WriteContinuation(stream, true, block.Bytes()[half:]),
		framer.WriteDataPadded(stream, false, data[:3], make([]byte, 7)),
		framer.WriteData(stream, false, data[3:]))
	block.Reset()
	return errors.Join(err,
		encoder.WriteField(hpack.HeaderField{Name: "grpc-status", Value: "0"}),
		framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true}))
}

func TestHeadersAndWindowsStayRightOverManyRequests(t *testing.T) {
	t.Parallel()
	users := population.New(1, 100)
	for name, settings := range map[string][]http2.Setting{
		"as usual":           nil,
		"no table":           {{ID: http2.SettingHeaderTableSize, Val: 0}},
		"a small table":      {{ID: http2.SettingHeaderTableSize, Val: 64}},
		"few streams":        {{ID: http2.SettingMaxConcurrentStreams, Val: 3}},
		"a small first room": {{ID: http2.SettingInitialWindowSize, Val: 60}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := &strictServer{t: t, users: byID(users), settings: settings}
			g := dial(t, Target{
				Address: server.start(), Connections: 1, Streams: 16,
				Wire: Wire{Protocol: GRPC, Codec: Proto}, Read: GetUser(users, Proto), Keys: NewZipf(100),
			})
			for server.calls.Load() < 1_500 {
				if r := g.Closed(aMoment); r.Failed > 0 {
					t.Fatalf("after %d calls: %v", server.calls.Load(), r.Failure)
				}
			}
		})
	}
}

func TestARequestThatNeverFitsIsAnError(t *testing.T) {
	t.Parallel()
	users := population.New(1, 100)
	server := &strictServer{t: t, users: byID(users), settings: []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 10}}}
	g := dial(t, Target{
		Address: server.start(), Connections: 1, Streams: 1,
		Wire: Wire{Protocol: GRPC, Codec: Proto}, Read: GetUser(users, Proto), Keys: Uniform(100),
	})
	if r := g.Closed(time.Millisecond); r.Failed == 0 {
		t.Error("no error")
	}
}
