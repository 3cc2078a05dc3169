package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/server"
	"github.com/example/userd/server/servertest"
	"github.com/example/userd/store/storetest/transcript"
)

func TestMetrics(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, nil)
	client := running.Client(t, grpcBinary.options...)
	create(t, client, newUserRequest(1))
	if _, err := client.CreateUser(t.Context(), newUserRequest(1)); err == nil {
		t.Error("email is free")
	}
	unknown := changing(servertest.HTTP2(t), func(req *http.Request) { req.URL.Path = "/user.v1.UserService/Hush" })
	if _, err := running.ClientOf(unknown).CreateUser(t.Context(), newUserRequest(2)); err == nil {
		t.Error("unknown method is there")
	}
	if err := running.Shutdown(t.Context()); err != nil { // All calls are counted then.
		t.Fatal(err)
	}
	metrics := scrape(running)
	for _, want := range []string{
		`rpc_server_call_duration_seconds_count{rpc_method="user.v1.UserService/CreateUser",rpc_response_status_code="OK",rpc_system_name="grpc"} 1`,
		`rpc_server_call_duration_seconds_count{rpc_method="user.v1.UserService/CreateUser",rpc_response_status_code="ALREADY_EXISTS",rpc_system_name="grpc"} 1`,
		`rpc_server_call_duration_seconds_count{rpc_method="_OTHER",rpc_response_status_code="UNIMPLEMENTED",rpc_system_name="connectrpc"} 1`,
		`rpc_server_active_calls{rpc_method="user.v1.UserService/CreateUser"} 0`,
		`userd_watchers{state="catching_up"} 0`,
		`userd_catching_up_refused_total 0`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("metrics lack %s:\n%s", want, metrics)
		}
	}
	if strings.Contains(strings.ToLower(metrics), private) {
		t.Errorf("metrics hold something private:\n%s", metrics)
	}
}

// scrape is what the metrics of a server are now.
func scrape(running *servertest.Server) string {
	answer := httptest.NewRecorder()
	running.Admin().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return answer.Body.String()
}

// checkMetrics checks that metrics have these lines.
func checkMetrics(t *testing.T, running *servertest.Server, lines ...string) {
	t.Helper()
	metrics := scrape(running)
	for _, want := range lines {
		if !strings.Contains(metrics, "\n"+want+"\n") {
			t.Errorf("metrics lack %s", want)
		}
	}
	if t.Failed() {
		t.Log(metrics)
	}
}

// A rate can be told from the first call on only where its series is there before.
func TestSeriesAreThereBeforeTheFirstCall(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, nil)
	var lines []string
	methods := userv1.File_user_v1_user_service_proto.Services().ByName("UserService").Methods()
	for i := range methods.Len() {
		name, metric := "user.v1.UserService/"+string(methods.Get(i).Name()), "rpc_server_call_duration_seconds"
		if methods.Get(i).IsStreamingClient() || methods.Get(i).IsStreamingServer() {
			metric = "rpc_server_stream_duration_seconds"
		}
		for _, system := range []string{"grpc", "connectrpc"} {
			lines = append(lines, metric+`_count{rpc_method="`+name+`",rpc_response_status_code="OK",rpc_system_name="`+system+`"} 0`)
		}
		lines = append(lines, `rpc_server_active_calls{rpc_method="`+name+`"} 0`)
	}
	checkMetrics(t, running, append(lines,
		`rpc_server_call_duration_seconds_count{rpc_method="grpc.health.v1.Health/Check",rpc_response_status_code="OK",rpc_system_name="grpc"} 0`)...)
}

// What a call sends and receives is counted as it is without compression, whichever way it
// takes.
func TestSizesOfMessages(t *testing.T) {
	t.Parallel()
	request := &userv1.GetUserRequest{UserId: nearID(0)}
	for _, protocol := range []protocol{grpcBinary, connectJSON} {
		t.Run(protocol.name, func(t *testing.T) {
			t.Parallel()
			running := servertest.Start(t, nil)
			client := running.Client(t, protocol.options...)
			user := create(t, client, newUserRequest(1))
			request := proto.CloneOf(request)
			request.UserId = user.GetId()
			response, err := client.GetUser(t.Context(), request)
			if err != nil {
				t.Fatal(err)
			}
			if err := running.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			lines := []string{
				`rpc_server_request_size_bytes_count{rpc_method="user.v1.UserService/GetUser"} 1`,
				`rpc_server_response_size_bytes_count{rpc_method="user.v1.UserService/GetUser"} 1`,
			}
			if protocol.name == grpcBinary.name {
				lines = append(lines,
					fmt.Sprintf(`rpc_server_request_size_bytes_sum{rpc_method="user.v1.UserService/GetUser"} %d`, proto.Size(request)),
					fmt.Sprintf(`rpc_server_response_size_bytes_sum{rpc_method="user.v1.UserService/GetUser"} %d`, proto.Size(response)))
			}
			checkMetrics(t, running, lines...)
		})
	}
}

// Streams last as long as their callers like: their durations say nothing of those of others.
func TestStreamsHaveTheirOwnMetrics(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, nil)
	client := running.Client(t, grpcBinary.options...)
	rows, _ := numberedRows(3)
	rows[1].DisplayName = strings.Repeat("Ada ", 20) + "Lovelace"
	if _, err := importRows(t.Context(), client, rows); err != nil {
		t.Fatal(err)
	}
	uncompressed := changing(servertest.HTTP2(t), func(req *http.Request) { req.Header.Del("Grpc-Accept-Encoding") })
	received, sent := 0, 0
	for _, row := range rows {
		received += proto.Size(row)
	}
	for _, client := range []userv1connect.UserServiceClient{client, running.ClientOf(uncompressed, grpcBinary.options...)} {
		users, _, err := list(t.Context(), client, &userv1.ListUsersRequest{All: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, user := range users {
			sent += proto.Size(user)
		}
	}
	if err := running.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkMetrics(t, running,
		`rpc_server_stream_duration_seconds_count{rpc_method="user.v1.UserService/BatchCreateUsers",rpc_response_status_code="OK",rpc_system_name="grpc"} 1`,
		`rpc_server_stream_duration_seconds_count{rpc_method="user.v1.UserService/ListUsers",rpc_response_status_code="OK",rpc_system_name="grpc"} 2`,
		`rpc_server_request_size_bytes_count{rpc_method="user.v1.UserService/BatchCreateUsers"} 3`,
		fmt.Sprintf(`rpc_server_request_size_bytes_sum{rpc_method="user.v1.UserService/BatchCreateUsers"} %d`, received),
		`rpc_server_response_size_bytes_count{rpc_method="user.v1.UserService/ListUsers"} 6`,
		fmt.Sprintf(`rpc_server_response_size_bytes_sum{rpc_method="user.v1.UserService/ListUsers"} %d`, sent))
	if strings.Contains(scrape(running), `rpc_server_call_duration_seconds_count{rpc_method="user.v1.UserService/ListUsers"`) {
		t.Error("a stream is among the unary calls")
	}
}

// Requests that are refused before they are calls are counted, and calls are not.
func TestRefusedRequestsAreCounted(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, nil)
	client := servertest.HTTP1(t)
	getUser := running.URL + "/user.v1.UserService/GetUser"
	for _, try := range []struct{ method, url, contentType, encoding string }{
		{http.MethodPost, getUser, "application/json", "br"},
		{http.MethodPost, getUser, "text/plain", ""},
		{http.MethodDelete, getUser, "", ""},
		{http.MethodGet, running.URL + "/user.v1.UserService/DeleteUser?message=%7B%7D&encoding=json", "", ""},
		{http.MethodPost, running.URL + "/user.v1.UserService/StreamUserUpdates", "application/connect+json", ""}, // Needs HTTP/2.
		{http.MethodGet, running.URL + "/favicon.ico", "", ""},
		{http.MethodPost, running.URL + "/nobody.v1.Service/Call", "application/grpc", ""},
		{http.MethodPost, getUser, "application/json", ""}, // A call, with an answer.
	} {
		req, err := http.NewRequestWithContext(t.Context(), try.method, try.url, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", try.contentType)
		if try.encoding != "" {
			req.Header.Set("Content-Encoding", try.encoding)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
	}
	checkMetrics(t, running,
		`userd_requests_refused_total{kind="header"} 1`,
		`userd_requests_refused_total{kind="protocol"} 4`,
		`userd_requests_refused_total{kind="path"} 2`,
		`userd_requests_refused_total{kind="headers_too_large"} 0`)
}

// A failure that meets all calls does not fill the log: what has no line is counted.
func TestLinesOfFailedCallsAreBounded(t *testing.T) {
	t.Parallel()
	const calls = 500
	logged, told := new(transcript.Log), make(chan string, 16)
	lines := slog.NewTextHandler(io.MultiWriter(logged, linesWith{"left_out=", told}), nil)
	running := startFaulty(t, func(context.Context, string) error { return errors.New("the disk is full") },
		func(config *server.Config) { config.Logger = slog.New(lines) })
	client := running.Client(t, grpcBinary.options...)
	for range calls {
		_, _ = client.GetUser(t.Context(), &userv1.GetUserRequest{UserId: someID})
	}
	if err := running.Shutdown(t.Context()); err != nil { // All calls are counted then.
		t.Fatal(err)
	}
	written := strings.Count(logged.String(), `msg="call failed"`)
	if written < 50 || written == calls {
		t.Errorf("the log has %d lines for %d calls", written, calls)
	}
	checkMetrics(t, running, fmt.Sprintf("userd_log_calls_left_out_total %d", calls-written))
	<-told
}

// linesWith passes on the lines of a log that have a text.
type linesWith struct {
	text  string
	lines chan<- string
}

func (l linesWith) Write(p []byte) (int, error) {
	if strings.Contains(string(p), l.text) {
		l.lines <- string(p)
	}
	return len(p), nil
}

// Callers who leave, or who have the answer already, make no lines about failures.
func TestCancelledCallsAreNoFailures(t *testing.T) {
	t.Parallel()
	logged := new(transcript.Log)
	begun := make(chan struct{}, 1)
	running := startFaulty(t, func(ctx context.Context, _ string) error {
		begun <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}, func(config *server.Config) { config.Logger = logged.Logger() })
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-begun
		cancel()
	}()
	if _, err := running.Client(t, grpcBinary.options...).GetUser(ctx, &userv1.GetUserRequest{UserId: someID}); connect.CodeOf(err) != connect.CodeCanceled {
		t.Errorf("error %v", err)
	}
	if err := running.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if text := logged.String(); !strings.Contains(text, "code=CANCELED") || strings.Contains(text, "level=WARN") || strings.Contains(text, "level=ERROR") {
		t.Errorf("the log says\n%s", text)
	}
}

// A line for each call that is refused for overload would be a load of its own.
func TestRefusedCallsAreNotLoggedOneByOne(t *testing.T) {
	t.Parallel()
	logged := new(transcript.Log)
	running := servertest.Start(t, func(config *server.Config) { config.Logger, config.Reader = logged.Logger(), new(fullReader) })
	_, err := running.Client(t, grpcBinary.options...).GetUser(t.Context(), &userv1.GetUserRequest{UserId: nearID(0)})
	if connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Error(err)
	}
	if err := running.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	lines := logged.String()
	if !strings.Contains(lines, "level=DEBUG msg=call ") || strings.Contains(lines, "level=WARN") {
		t.Errorf("the log says\n%s", lines)
	}
}

func TestLogHoldsNothingPrivate(t *testing.T) {
	t.Parallel()
	logged := new(transcript.Log)
	running := servertest.Start(t, func(config *server.Config) { config.Logger = logged.Logger() })
	requestID := uuid.NewString()
	identified := changing(servertest.HTTP2(t), func(req *http.Request) { req.Header.Set("X-Request-Id", requestID) })
	client := running.ClientOf(identified, grpcBinary.options...)
	user := create(t, client, newUserRequest(1))
	for _, message := range append(unaryRequests(), newUserRequest(2),
		&userv1.GetUserRequest{UserId: user.GetId()},
		&userv1.GetUserRequest{UserId: private},
		&userv1.SearchUsersRequest{EmailPrefix: private, NameContains: private}) {
		if _, watches := message.(*userv1.WatchUsersRequest); !watches { // They do not end.
			_ = send(t.Context(), client, message) // Refused or not.
		}
	}
	rows, _ := numberedRows(3)
	if _, err := importRows(t.Context(), client, append(rows, &userv1.CreateUserRequest{Email: private})); err != nil {
		t.Fatal(err)
	}
	if _, err := sendUpdates(t.Context(), client, []*userv1.UserUpdate{{UserId: private}}); err != nil {
		t.Fatal(err)
	}
	for _, input := range undecodable() {
		protocol := input.protocols()[0]
		_ = send(t.Context(), running.Client(t, input.options(protocol)...), input.message)
	}
	for _, path := range []string{"/user.v1.UserService/" + private, "/" + private + "?email=" + private} {
		get(t, servertest.HTTP1(t), running.URL+path, "X-Request-Id", testEmail(1), "User-Agent", private)
	}
	if err := running.Shutdown(t.Context()); err != nil { // All calls are logged then.
		t.Fatal(err)
	}
	text := logged.String()
	if strings.Contains(strings.ToLower(text), private) {
		t.Errorf("log holds something private:\n%s", text)
	}
	for _, want := range []string{"request_id=" + requestID, "user_id=" + user.GetId(), "procedure=user.v1.UserService/CreateUser", "code=OK", "duration_ms=", "peer=127.0.0.1:"} {
		if !strings.Contains(text, want) {
			t.Errorf("log lacks %s", want)
		}
	}
}

// That the caller has the answer already is an answer that went well.
func TestNotModifiedIsNoError(t *testing.T) {
	t.Parallel()
	logged := new(transcript.Log)
	running := servertest.Start(t, func(config *server.Config) { config.Logger = logged.Logger() })
	client := servertest.HTTP1(t)
	url := getURL(running, "GetUser", `{"userId": "`+someID+`"}`)
	first, _ := get(t, client, url)
	again, _ := get(t, client, url, "If-None-Match", first.Header.Get("Etag"))
	if again.StatusCode != http.StatusNotModified {
		t.Errorf("answer is %s", again.Status)
	}
	if err := running.Shutdown(t.Context()); err != nil { // All calls are counted then.
		t.Fatal(err)
	}
	if text := logged.String(); strings.Contains(text, "level=ERROR") || strings.Count(text, "code=OK") != 2 {
		t.Errorf("log is:\n%s", text)
	}
	const want = `rpc_server_call_duration_seconds_count{rpc_method="user.v1.UserService/GetUser",rpc_response_status_code="OK",rpc_system_name="connectrpc"} 2`
	if !strings.Contains(scrape(running), want) {
		t.Errorf("metrics lack %s", want)
	}
}
