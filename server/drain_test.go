package server_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/proto"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/server"
	"github.com/example/userd/server/servertest"
)

// rawConn is an HTTP/2 connection, frame by frame.
type rawConn struct {
	tb     testing.TB
	conn   net.Conn
	framer *http2.Framer
	host   string
	header *hpack.Encoder
	block  *bytes.Buffer
}

// dialRaw connects, and exchanges settings. The server's are returned.
func dialRaw(tb testing.TB, running *servertest.Server, settings ...http2.Setting) (*rawConn, *http2.SettingsFrame) {
	tb.Helper()
	address, err := url.Parse(running.URL)
	if err != nil {
		tb.Fatal(err)
	}
	conn, err := net.Dial("tcp", address.Host)
	if err != nil {
		tb.Fatal(err)
	}
	if address.Scheme == "https" {
		conn = tls.Client(conn, &tls.Config{NextProtos: []string{"h2"}, InsecureSkipVerify: true}) // Tests make their own certificates.
	}
	tb.Cleanup(func() { _ = conn.Close() })
	return newRawConn(tb, conn, address.Host, settings...)
}

func newRawConn(tb testing.TB, conn net.Conn, host string, ours ...http2.Setting) (*rawConn, *http2.SettingsFrame) {
	tb.Helper()
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		tb.Fatal(err)
	}
	raw := &rawConn{tb: tb, conn: conn, framer: http2.NewFramer(conn, conn), host: host, block: new(bytes.Buffer)}
	raw.header = hpack.NewEncoder(raw.block)
	raw.must(raw.framer.WriteSettings(ours...))
	settings := awaitFrame(raw, func(frame *http2.SettingsFrame) bool { return !frame.IsAck() })
	raw.must(raw.framer.WriteSettingsAck())
	return raw, settings
}

func (c *rawConn) must(err error) {
	c.tb.Helper()
	if err != nil {
		c.tb.Fatal(err)
	}
}

// call starts a gRPC call, with names and values of further headers, whose request has not ended.
func (c *rawConn) call(stream uint32, procedure string, header ...string) {
	c.tb.Helper()
	block := c.fields(append([]string{
		":method", "POST", ":scheme", "http", ":authority", c.host, ":path", procedure,
		"content-type", "application/grpc", "te", "trailers",
	}, header...)...)
	c.must(c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block, EndHeaders: true}))
}

// fields is a header block of names and values.
func (c *rawConn) fields(pairs ...string) []byte {
	c.tb.Helper()
	c.block.Reset()
	for i := 0; i < len(pairs); i += 2 {
		c.must(c.header.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]}))
	}
	return c.block.Bytes()
}

// send sends the body of a request to its end.
func (c *rawConn) send(stream uint32, body []byte) {
	c.tb.Helper()
	for len(body) > 16<<10 {
		c.must(c.framer.WriteData(stream, false, body[:16<<10]))
		body = body[16<<10:]
	}
	c.must(c.framer.WriteData(stream, true, body))
}

func fieldOf(frame *http2.MetaHeadersFrame, name string) string {
	for _, field := range frame.Fields {
		if field.Name == name {
			return field.Value
		}
	}
	return ""
}

// awaitFrame is the next frame of a type that matches.
func awaitFrame[F http2.Frame](c *rawConn, matches func(F) bool) F {
	c.tb.Helper()
	for {
		frame, err := c.framer.ReadFrame()
		c.must(err)
		if match, ok := frame.(F); ok && matches(match) {
			return match
		}
	}
}

func TestMaxConcurrentStreams(t *testing.T) {
	t.Parallel()
	const most = 3
	running := servertest.Start(t, func(config *server.Config) { config.MaxConcurrentStreams = most })
	conn, settings := dialRaw(t, running)
	if got, _ := settings.Value(http2.SettingMaxConcurrentStreams); got != most {
		t.Errorf("server announces %d streams, want %d", got, most)
	}
	awaitFrame(conn, func(frame *http2.SettingsFrame) bool { return frame.IsAck() })
	for i := range uint32(most + 1) {
		conn.call(2*i+1, "/user.v1.UserService/StreamUserUpdates")
	}
	refused := awaitFrame(conn, func(*http2.RSTStreamFrame) bool { return true })
	if refused.StreamID != 2*most+1 {
		t.Errorf("stream %d is refused, want the last", refused.StreamID)
	}
}

func TestDrainFinishesStreams(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, nil)
	client := running.Client(t, grpcBinary.options...)
	user := create(t, client, newUserRequest(1))
	stream, err := client.StreamUserUpdates(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	update := func(i int) {
		t.Helper()
		if err := stream.Send(&userv1.UserUpdate{UserId: user.GetId(), DisplayName: proto.String(testName(i))}); err != nil {
			t.Fatal(err)
		}
		if answer, err := stream.Receive(); err != nil || !answer.GetSuccess() {
			t.Fatalf("answer %v, error %v", answer, err)
		}
	}
	update(2)

	conn, _ := dialRaw(t, running)
	conn.call(1, "/user.v1.UserService/StreamUserUpdates")
	stopped := make(chan error, 1)
	go func() { stopped <- running.Shutdown(t.Context()) }()
	leaving := make(chan struct{})
	go func() {
		defer close(leaving)
		awaitFrame(conn, func(frame *http2.GoAwayFrame) bool { return frame.ErrCode == http2.ErrCodeNo })
	}()

	// It is draining: what is under way goes on.
	for next, open := 3, true; open; next++ {
		update(next)
		select {
		case <-leaving:
			open = false
		default:
		}
	}
	if late, err := net.Dial("tcp", conn.host); err == nil {
		t.Error("a new connection is taken")
		_ = late.Close()
	}
	select {
	case err := <-stopped:
		t.Fatalf("shut down before the streams have ended: %v", err)
	default:
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("stream ends with %v", err)
	}
	conn.must(conn.framer.WriteData(1, true, nil))
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
}

// What does not end in time is cut off.
func TestShutdownDeadline(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, nil)
	client := running.Client(t, grpcBinary.options...)
	user := create(t, client, newUserRequest(1))
	stream, err := client.StreamUserUpdates(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if err := stream.Send(&userv1.UserUpdate{UserId: user.GetId()}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Receive(); err != nil {
		t.Fatal(err)
	}
	late, cancel := context.WithCancel(t.Context())
	cancel()
	if err := running.Shutdown(late); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want %v", err, context.Canceled)
	}
	if _, err := stream.Receive(); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("stream ends with %v", err)
	}
}

// halfSent begins a unary call and returns what becomes of it.
func halfSent(t *testing.T, client *http.Client, url string) <-chan string {
	t.Helper()
	body, writer := io.Pipe()
	t.Cleanup(func() { writer.Close() })
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/user.v1.UserService/SearchUsers", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	answered := make(chan string, 1)
	go func() {
		resp, err := client.Do(req)
		if err != nil {
			answered <- err.Error()
			return
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body) // A part of it will not do.
		answered <- string(text)
	}()
	if _, err := writer.Write([]byte("{")); err != nil { // Returns when the client has it.
		t.Fatal(err)
	}
	return answered
}

// Requests that have stopped in the middle are told to go, and nobody waits for them.
func TestDrainEndsSilentRequests(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, nil)
	client := running.Client(t, grpcBinary.options...)
	imported, err := client.BatchCreateUsers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := imported.Send(newUserRequest(1)); err != nil {
		t.Fatal(err)
	}
	updates, err := client.StreamUserUpdates(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := updates.Send(&userv1.UserUpdate{UserId: someID}); err != nil {
		t.Fatal(err)
	}
	if _, err := updates.Receive(); err != nil {
		t.Fatal(err)
	}
	for !strings.Contains(scrape(running), `rpc_server_request_size_bytes_count{rpc_method="user.v1.UserService/BatchCreateUsers"} 1`+"\n") {
		runtime.Gosched() // Until the import has its row.
	}
	half := []<-chan string{halfSent(t, servertest.HTTP1(t), running.URL), halfSent(t, servertest.HTTP2(t), running.URL)}

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := running.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	_, err = imported.CloseAndReceive()
	authored := new(connect.Error)
	if !errors.As(err, &authored) || authored.Code() != connect.CodeUnavailable {
		t.Fatalf("the import ends with %v", err)
	}
	if sums := details[*userv1.BatchCreateUsersResponse](t, authored); len(sums) != 1 || sums[0].GetSuccessCount() != 1 {
		t.Errorf("the import ends with the counts %v", sums)
	}
	if _, err := updates.Receive(); connect.CodeOf(err) != connect.CodeUnavailable {
		t.Errorf("the updates end with %v", err)
	}
	for i, answered := range half {
		if text := <-answered; !strings.Contains(text, "unavailable") {
			t.Errorf("the half-sent call over HTTP/%d ends with %s", i+1, text)
		}
	}
}

// Some clients of gRPC reset streams that they have not opened, when they cancel a call at once. It
// ends their connection where net/http serves it, as RFC 9113 section 6.4 has it.
func TestResetBeforeItsStream(t *testing.T) {
	t.Parallel()
	for _, transport := range []server.Transport{server.Engine, server.Std} {
		t.Run(string(transport), func(t *testing.T) {
			t.Parallel()
			raw, _ := dialRaw(t, servertest.Start(t, func(config *server.Config) { config.HTTP2 = transport }))
			raw.search(1)
			raw.must(raw.framer.WriteRSTStream(3, http2.ErrCodeCancel))
			if transport == server.Engine {
				raw.search(5)
				return
			}
			if away := awaitFrame(raw, func(*http2.GoAwayFrame) bool { return true }); away.ErrCode != http2.ErrCodeProtocol {
				t.Errorf("GOAWAY with %v", away.ErrCode)
			}
		})
	}
}
