//go:build unix

package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"

	"github.com/example/userd/server"
	"github.com/example/userd/server/servertest"
)

// paddedUser is a valid request of 900 KiB, most of them blanks.
func paddedUser(i int) []byte { return paddedBy(i, 900<<10) }

func paddedBy(i, blanks int) []byte {
	return fmt.Appendf(nil, `{"email": "%d@example.com", "displayName": "Ada"%s}`, i, strings.Repeat(" ", blanks))
}

// startSmall runs a server of a process with so little memory that it holds 2 MiB of large
// messages, one of the largest twice.
func startSmall(t *testing.T, before func(ctx context.Context, method string) error) *servertest.Server {
	t.Helper()
	usual := debug.SetMemoryLimit(8 << 20)
	defer debug.SetMemoryLimit(usual)
	return startFaulty(t, before, func(config *server.Config) { config.MaxMessageBytes = 1 << 20 })
}

// Large messages that are not handled yet have a bound in all: what goes beyond it is
// refused at once, and small requests notice nothing.
func TestLargeMessagesAtOnce(t *testing.T) { // Alone: it changes the memory limit for a moment.
	for encoding, test := range map[string]struct {
		pack func(testing.TB, []byte) []byte
		fit  int // As many have room: what came and what was unpacked count.
	}{
		"identity": {func(_ testing.TB, message []byte) []byte { return message }, 1},
		"gzip":     {gzipped, 2},
		"zstd":     {zstandard, 2},
	} {
		t.Run(encoding, func(t *testing.T) {
			arrived, release := make(chan struct{}), make(chan struct{})
			running := startSmall(t, func(_ context.Context, method string) error {
				if method == "Create" {
					arrived <- struct{}{}
					<-release
				}
				return nil
			})
			client := servertest.HTTP2(t)
			send := func(i int) (int, string, error) {
				return postUser(t.Context(), client, running.URL, encoding, test.pack(t, paddedUser(i)))
			}
			answers := make(chan error, test.fit)
			for i := range test.fit {
				go func() {
					status, body, err := send(i)
					if status != http.StatusOK {
						err = errors.Join(err, fmt.Errorf("answer is %d %s", status, body))
					}
					answers <- err
				}()
				<-arrived
			}
			if status, body, err := send(test.fit); status != http.StatusTooManyRequests || !strings.Contains(body, `"OVERLOADED"`) {
				t.Errorf("one too many is answered with %d %s, error %v", status, body, err)
			}
			small := make(chan error, 1)
			go func() { _, err := running.Client(t).CreateUser(t.Context(), newUserRequest(1)); small <- err }()
			<-arrived // A small one gets to the store.
			close(release)
			for range test.fit {
				if err := <-answers; err != nil {
					t.Error(err)
				}
			}
			if err := <-small; err != nil {
				t.Error(err)
			}
			go func() { <-arrived }()
			if status, body, err := send(test.fit); status != http.StatusOK {
				t.Errorf("afterwards it is answered with %d %s, error %v", status, body, err)
			}
		})
	}
}

// stalledUser sends most of a CreateUser from an address of its own, and returns what becomes
// of it.
func stalledUser(t *testing.T, running *servertest.Server, from string) (answer <-chan string) {
	t.Helper()
	body, writer := io.Pipe()
	t.Cleanup(func() { writer.Close() })
	client := servertest.HTTP2(t)
	client.Transport.(*http.Transport).DialContext = (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).DialContext
	answered := make(chan string, 1)
	go func() {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, running.URL+"/user.v1.UserService/CreateUser", body)
		if err != nil {
			answered <- err.Error()
			return
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(req)
		if err != nil {
			answered <- err.Error()
			return
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		answered <- fmt.Sprint(resp.StatusCode, string(text), err)
	}()
	if _, err := writer.Write(paddedUser(1)[:800<<10]); err != nil {
		t.Error(err)
	}
	return answered
}

// One caller that lets large messages wait, as many as there is room for, keeps nobody else
// from sending one: the slowest of its own is let go.
func TestNobodyHoldsAllRoomForLargeMessages(t *testing.T) { // Alone: it changes the memory limit for a moment.
	running := startSmall(t, func(context.Context, string) error { return nil })
	var greedy []<-chan string
	for range 2 {
		greedy = append(greedy, stalledUser(t, running, "127.0.0.2"))
	}
	for running.LargeMessages() < 2*(600<<10) { // The server reads when it likes.
		runtime.Gosched()
	}
	status, body, err := postUser(t.Context(), servertest.HTTP2(t), running.URL, connect.CompressionNameIdentity, paddedBy(2, 500<<10))
	if status != http.StatusOK {
		t.Errorf("another caller is answered with %d %s, error %v", status, body, err)
	}
	if answer := <-greedy[0]; !strings.Contains(answer, `"OVERLOADED"`) {
		t.Errorf("the slowest is answered with %s", answer)
	}
}

// A message that is too large is answered with a status after which nobody sends it again.
func TestTooLargeMessagesAreNotSentAgain(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, func(config *server.Config) { config.MaxMessageBytes = 64 << 10 })
	for name, client := range map[string]*http.Client{"HTTP/1.1": servertest.HTTP1(t), "HTTP/2": servertest.HTTP2(t)} {
		for encoding, body := range map[string][]byte{
			connect.CompressionNameIdentity: paddedUser(1), "gzip": gzipped(t, paddedUser(1)), "zstd": zstandard(t, paddedUser(1)),
		} {
			t.Run(name+", "+encoding, func(t *testing.T) {
				t.Parallel()
				status, answer, err := postUser(t.Context(), client, running.URL, encoding, body)
				if status != http.StatusRequestEntityTooLarge || !strings.Contains(answer, `"MESSAGE_TOO_LARGE"`) || !strings.HasSuffix(answer, "}\n") {
					t.Errorf("answer is %d %q, error %v", status, answer, err)
				}
			})
		}
	}
}

// postUser sends a CreateUser in JSON.
func postUser(ctx context.Context, client *http.Client, url, encoding string, body []byte) (status int, answer string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/user.v1.UserService/CreateUser", bytes.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", "application/json")
	if encoding != connect.CompressionNameIdentity {
		req.Header.Set("Content-Encoding", encoding)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}
