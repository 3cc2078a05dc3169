package load

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
)

// serveEcho answers streams with the messages that they send, and fails those whose
// path ends with Fail.
func serveEcho(t *testing.T) string {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return serve(t, protocols, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc+proto")
		w.Header().Set("Trailer", "Grpc-Status, Grpc-Message")
		if r.URL.Path == service+"Fail" {
			w.Header().Set("Grpc-Status", "13")
			w.Header().Set("Grpc-Message", "on%20purpose")
			return
		}
		_ = http.NewResponseController(w).Flush()
		_, _ = io.Copy(w, r.Body) // The caller may be gone.
		w.Header().Set("Grpc-Status", "0")
	})
}

func dialSession(t *testing.T, address string, window int) *Session {
	t.Helper()
	session, err := DialSession(address, window)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(session.Close)
	return session
}

// numbered are n messages of different sizes, together far above every window.
func numbered(n int) []byte {
	var all []byte
	for i := range n {
		message := numberedMessage(i)
		all = append(AppendPrefix(all, len(message)), message...)
	}
	return all
}

func numberedMessage(i int) []byte {
	return append(fmt.Appendf(nil, "%d ", i), bytes.Repeat([]byte("x"), i*7%5000)...)
}

func TestStreamsCarryMoreThanTheirWindows(t *testing.T) {
	t.Parallel()
	const messages = 2_000
	for _, window := range []int{0, 20_000} {
		session := dialSession(t, serveEcho(t), window)
		var streams sync.WaitGroup
		for range 3 {
			streams.Go(func() {
				next := 0
				stream := session.Open("Echo", func(message []byte) error {
					if want := numberedMessage(next); !bytes.Equal(message, want) {
						return fmt.Errorf("message %d is %.20q, want %.20q", next, message, want)
					}
					next++
					return nil
				})
				stream.Send(numbered(messages))
				stream.CloseSend()
				if err := stream.Wait(); err != nil || next != messages {
					t.Errorf("window %d: %d messages, %v", window, next, err)
				}
			})
		}
		streams.Wait()
	}
}

func TestAStreamThatFailsSaysWhy(t *testing.T) {
	t.Parallel()
	session := dialSession(t, serveEcho(t), 0)
	err := session.Call("Fail", nil, func([]byte) error { return nil })
	status := new(StatusError)
	if !errors.As(err, &status) || status.Code != "13" || status.Message != "on purpose" {
		t.Errorf("%v", err)
	}
}

func TestARefusedMessageEndsTheStream(t *testing.T) {
	t.Parallel()
	session := dialSession(t, serveEcho(t), 0)
	wrong := errors.New("wrong")
	stream := session.Open("Echo", func([]byte) error { return wrong })
	stream.Send(numbered(1_000)) // More than the server keeps to itself.
	if err := stream.Wait(); !errors.Is(err, wrong) {
		t.Error(err)
	}
	if err := session.Call("Echo", []byte("m"), func([]byte) error { return nil }); err != nil {
		t.Errorf("the next call: %v", err)
	}
}

func TestAStalledStreamTakesOneWindow(t *testing.T) {
	t.Parallel()
	const window = 65_535
	session := dialSession(t, serveEcho(t), window)
	taken := make(chan int, 1_000)
	stream := session.OpenStalled("Echo", func(message []byte) error {
		taken <- grpcPrefix + len(message)
		return nil
	})
	message := bytes.Repeat([]byte("x"), 1_000)
	var sent []byte
	for range 200 {
		sent = append(AppendPrefix(sent, len(message)), message...)
	}
	go stream.Send(sent)
	total := 0
	const buffered = 8 << 10 // Of the server, which waits for more.
	for total <= window-buffered {
		total += <-taken
	}
	session.Close()
	if stream.Wait() == nil {
		t.Error("the stream has ended well")
	}
	for close(taken); len(taken) > 0; {
		total += <-taken
	}
	if total > window {
		t.Errorf("%d bytes were taken, more than the window", total)
	}
}

func TestStreamsOfAClosedSessionFail(t *testing.T) {
	t.Parallel()
	session := dialSession(t, serveEcho(t), 0)
	open := session.Open("Echo", func([]byte) error { return nil })
	session.Close()
	if open.Wait() == nil || session.Open("Echo", nil).Wait() == nil {
		t.Error("no error")
	}
}
