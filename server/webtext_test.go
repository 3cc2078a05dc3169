package server_test

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/server"
	"github.com/example/userd/server/servertest"
	"github.com/example/userd/store/storetest/transcript"
)

// envelope is one message as gRPC-Web frames it.
func envelope(tb testing.TB, message proto.Message) []byte {
	tb.Helper()
	encoded, err := proto.Marshal(message)
	if err != nil {
		tb.Fatal(err)
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(encoded))), encoded...)
}

// encodedChunk is a chunk of grpc-web-text.
var encodedChunk = regexp.MustCompile(`[A-Za-z0-9+/]+={0,2}`)

// webFrames are the messages of a grpc-web-text body, and its trailers.
func webFrames(tb testing.TB, body string) (messages [][]byte, trailers string) {
	tb.Helper()
	var frames []byte
	for _, chunk := range encodedChunk.FindAllString(body, -1) {
		decoded, err := base64.StdEncoding.DecodeString(chunk)
		if err != nil {
			tb.Fatal(err)
		}
		frames = append(frames, decoded...)
	}
	for len(frames) > 0 {
		end := 5 + binary.BigEndian.Uint32(frames[1:5])
		if frames[0]&0x80 != 0 {
			trailers = string(frames[5:end])
		} else {
			messages = append(messages, frames[5:end])
		}
		frames = frames[end:]
	}
	return messages, trailers
}

func TestWebText(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, nil)
	ids := fill(t, running.Store, 3)
	request := envelope(t, &userv1.ListUsersRequest{PageSize: 2})
	whole := base64.StdEncoding.EncodeToString(request)
	split := base64.StdEncoding.EncodeToString(request[:5]) + base64.StdEncoding.EncodeToString(request[5:])
	for name, body := range map[string]string{"whole": whole, "padding in the middle": split} {
		for version, client := range map[string]*http.Client{"1.1": servertest.HTTP1(t), "2": servertest.HTTP2(t)} {
			t.Run(name+" "+version, func(t *testing.T) {
				t.Parallel()
				res, answer := do(t, client, http.MethodPost, running.URL+"/user.v1.UserService/ListUsers", body,
					"Content-Type", "application/grpc-web-text+proto", "X-Grpc-Web", "1")
				if got := res.Header.Get("Content-Type"); got != "application/grpc-web-text+proto" {
					t.Errorf("Content-Type is %q", got)
				}
				messages, trailers := webFrames(t, answer)
				for i, message := range messages {
					var user userv1.User
					if err := proto.Unmarshal(message, &user); err != nil || user.GetId() != ids[i] {
						t.Errorf("message %d is %v, error %v", i, &user, err)
					}
				}
				if trailers = strings.ToLower(trailers); len(messages) != 2 || !strings.Contains(trailers, "grpc-status: 0") || !strings.Contains(trailers, "next-page-token: ") {
					t.Errorf("%d messages, then %q", len(messages), trailers)
				}
			})
		}
	}
}

// Messages arrive as they are sent, not at the end.
func TestWebTextStreams(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, nil)
	body := base64.StdEncoding.EncodeToString(envelope(t, &userv1.WatchUsersRequest{}))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, running.URL+"/user.v1.UserService/WatchUsers", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/grpc-web-text")
	res, err := servertest.HTTP1(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	first := make([]byte, 8)
	if _, err := res.Body.Read(first); err != nil {
		t.Fatal(err)
	}
}

func TestWebTextRefusesOtherBytes(t *testing.T) {
	t.Parallel()
	logged := new(transcript.Log)
	running := servertest.Start(t, func(config *server.Config) { config.Logger = logged.Logger() })
	for name, body := range map[string]string{
		"not base64": "{hush}", "cut": "AAAAA", "padding only": "====", "ends within a group": "AAAAAAUKaH", "not base64 in the middle": "AAAAAAUKaHVz!",
	} {
		for version, client := range map[string]*http.Client{"1.1": servertest.HTTP1(t), "2": servertest.HTTP2(t)} {
			t.Run(name+" "+version, func(t *testing.T) {
				res, answer := do(t, client, http.MethodPost, running.URL+"/user.v1.UserService/GetUser", body,
					"Content-Type", "application/grpc-web-text")
				if got := res.Header.Get("Content-Type"); got != "application/grpc-web-text" {
					t.Errorf("Content-Type is %q", got)
				}
				if status := res.Header.Get("Grpc-Status"); status != "3" || answer != "" || strings.Contains(fmt.Sprint(res.Header), private) {
					t.Errorf("the answer is %v, %q", res.Header, answer)
				}
			})
		}
	}
	if text := logged.String(); strings.Contains(text, "level=ERROR") {
		t.Errorf("log has errors:\n%s", text)
	}
}
