package server_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"github.com/google/uuid"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/server"
	"github.com/example/userd/server/servertest"
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
	scrape := httptest.NewRecorder()
	running.Admin().ServeHTTP(scrape, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{
		`rpc_server_call_duration_seconds_count{rpc_method="/user.v1.UserService/CreateUser",rpc_response_status_code="ok",rpc_system_name="grpc"} 1`,
		`rpc_server_call_duration_seconds_count{rpc_method="/user.v1.UserService/CreateUser",rpc_response_status_code="already_exists",rpc_system_name="grpc"} 1`,
		`rpc_server_call_duration_seconds_count{rpc_method="_OTHER",rpc_response_status_code="unimplemented",rpc_system_name="connect"} 1`,
		`rpc_server_active_calls{rpc_method="/user.v1.UserService/CreateUser"} 0`,
		`userd_catching_up_waiting 0`,
		`userd_catching_up_refused_total 0`,
	} {
		if !strings.Contains(scrape.Body.String(), want) {
			t.Errorf("metrics lack %s:\n%s", want, scrape.Body)
		}
	}
	if strings.Contains(strings.ToLower(scrape.Body.String()), private) {
		t.Errorf("metrics hold something private:\n%s", scrape.Body)
	}
}

// A line for each call that is refused for overload would be a load of its own.
func TestRefusedCallsAreNotLoggedOneByOne(t *testing.T) {
	t.Parallel()
	logged := new(logBuffer)
	running := servertest.Start(t, func(config *server.Config) { config.Logger, config.Reader = logged.logger(), new(fullReader) })
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
	logged := new(logBuffer)
	running := servertest.Start(t, func(config *server.Config) { config.Logger = logged.logger() })
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
	for _, want := range []string{"request_id=" + requestID, "user_id=" + user.GetId(), "procedure=/user.v1.UserService/CreateUser", "code=ok", "duration="} {
		if !strings.Contains(text, want) {
			t.Errorf("log lacks %s", want)
		}
	}
}

// That the caller has the answer already is an answer that went well.
func TestNotModifiedIsNoError(t *testing.T) {
	t.Parallel()
	logged := new(logBuffer)
	running := servertest.Start(t, func(config *server.Config) { config.Logger = logged.logger() })
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
	if text := logged.String(); strings.Contains(text, "level=ERROR") || strings.Count(text, "code=ok") != 2 {
		t.Errorf("log is:\n%s", text)
	}
	const want = `rpc_server_call_duration_seconds_count{rpc_method="/user.v1.UserService/GetUser",rpc_response_status_code="ok",rpc_system_name="connect"} 2`
	scrape := httptest.NewRecorder()
	running.Admin().ServeHTTP(scrape, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if !strings.Contains(scrape.Body.String(), want) {
		t.Errorf("metrics lack %s", want)
	}
}
