package server_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"connectrpc.com/connect/v2"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/example/userd/cache"
	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/server"
	"github.com/example/userd/server/auth"
	"github.com/example/userd/server/servertest"
	"github.com/example/userd/store"
)

// askedReader has users that differ in their roles, and counts the calls that look for
// one themselves.
type askedReader struct {
	server.Reader
	users map[string]cache.Entry
	asked atomic.Int64
}

// nearRoles are how many roles the users have.
var nearRoles = []int{0, 3, 20, 64}

// nearID is the id of the user with this many roles.
func nearID(roles int) string { return fmt.Sprintf("aaaaaaaa-1111-4111-8111-%012d", roles) }

func newAskedReader() *askedReader {
	r := &askedReader{users: make(map[string]cache.Entry)}
	for _, roles := range nearRoles {
		user := store.User{ID: nearID(roles), Email: testEmail(1), DisplayName: "\"Ada\" \\ \u2028 Ω", Version: 3}
		for i := range roles {
			user.Roles = append(user.Roles, "role"+strings.Repeat("x", i))
		}
		r.users[user.ID] = cache.Entry{Data: encode(user), Version: user.Version, Found: true}
	}
	return r
}

func (r *askedReader) Lookup(_ context.Context, id string, _ cache.Read) (cache.Entry, error) {
	r.asked.Add(1)
	return r.users[id], nil
}

// nearbyReader is an askedReader with all its users at hand.
type nearbyReader struct{ *askedReader }

func (r nearbyReader) Cached(id string, read cache.Read) (cache.Entry, bool) {
	entry, ok := r.users[id]
	return entry, ok && read.MinVersion <= entry.Version && !read.NoCache
}

// nearRequest is a request of GetUser.
type nearRequest struct {
	name    string
	grpc    bool
	format  string // The content type, after the protocol.
	message string
	stream  string // What is sent instead of the message in its envelope.
	header  []string
	chunked bool // No length is told.
	far     bool // The user is looked up, whether it is at hand or not.
}

func nearRequests(t *testing.T) []nearRequest {
	id := nearID(3)
	plain := string(marshal(t, &userv1.GetUserRequest{UserId: id}))
	asJSON := `{"userId": "` + id + `"}`
	envelope := func(flags byte, size int, message string) string {
		return string(binary.BigEndian.AppendUint32([]byte{flags}, uint32(size))) + message
	}
	requests := []nearRequest{
		{name: "upper case", message: string(marshal(t, &userv1.GetUserRequest{UserId: strings.ToUpper(id)}))},
		{name: "version", message: string(marshal(t, &userv1.GetUserRequest{UserId: id, MinVersion: 3}))},
		{name: "version to come", message: string(marshal(t, &userv1.GetUserRequest{UserId: id, MinVersion: 4})), far: true},
		{name: "version that is none", message: string(marshal(t, &userv1.GetUserRequest{UserId: id, MinVersion: -1}))},
		{name: "version that is none over gRPC", grpc: true, message: string(marshal(t, &userv1.GetUserRequest{UserId: id, MinVersion: -1}))},
		{name: "id that is none", message: string(marshal(t, &userv1.GetUserRequest{UserId: "me"})), far: true},
		{name: "nothing", far: true},
		{name: "nothing over gRPC", grpc: true, far: true},
		{name: "garbage", message: "\xff" + plain, far: true},
		{name: "more than one", message: plain + "\x18\x01", far: true},
		{name: "large", message: plain + strings.Repeat("\x1a\x02ab", 200), far: true},
		{name: "JSON with more", format: "json", message: `{"userId": "` + id + `", "minVersion": "3"}`, far: true},
		{name: "JSON with what is not known", format: "json", message: `{"userId": "` + id + `", "hush": 1}`, far: true},
		{name: "JSON that is none", format: "json", message: asJSON + "}", far: true},
		{name: "JSON with a character set", format: "json; charset=utf-8", message: asJSON},
		{name: "unknown format", format: "xml", message: asJSON, far: true},
		{name: "of the store", message: plain, header: []string{"Cache-Control", "no-cache"}, far: true},
		{name: "no length", message: plain, chunked: true},
		{name: "length over gRPC", grpc: true, message: plain},
		{name: "no length over gRPC", grpc: true, message: plain, chunked: true},
		{name: "half an envelope", grpc: true, stream: "\x00\x00", far: true},
		{name: "half a message", grpc: true, stream: envelope(0, len(plain), plain[:5]), far: true},
		{name: "more than a message", grpc: true, stream: envelope(0, 5, plain), far: true},
		{name: "two messages", grpc: true, stream: envelope(0, len(plain), plain) + envelope(0, 0, ""), far: true},
		{name: "compressed", grpc: true, stream: envelope(1, len(plain), plain), far: true},
		{name: "compression", message: string(gzipped(t, []byte(plain))), header: []string{"Content-Encoding", "gzip"}},
		{name: "no compression", message: plain, header: []string{"Content-Encoding", "identity"}},
		{name: "unknown compression", grpc: true, message: plain, header: []string{"Grpc-Encoding", "br"}, far: true},
		{name: "timeout", message: plain, header: []string{"Connect-Timeout-Ms", "60000"}},
		{name: "timeout over gRPC", grpc: true, message: plain, header: []string{"Grpc-Timeout", "1M"}},
		{name: "malformed timeout", message: plain, header: []string{"Connect-Timeout-Ms", "soon"}, far: true},
		{name: "version of the protocol", message: plain, header: []string{"Connect-Protocol-Version", "1"}},
	}
	for _, format := range []string{"proto", "json"} {
		for _, accepts := range []string{"", "gzip", "zstd, gzip", "br,gzip;q=0.5", "identity"} {
			for _, roles := range nearRoles {
				message := string(marshal(t, &userv1.GetUserRequest{UserId: nearID(roles)}))
				if format == "json" {
					message = `{"userId": "` + nearID(roles) + `"}`
				}
				request := nearRequest{
					name: fmt.Sprintf("%s, accepts %s, %d roles", format, accepts, roles), format: format, message: message,
					header: []string{"Accept-Encoding", accepts, "Grpc-Accept-Encoding", accepts},
				}
				requests = append(requests, request)
				request.name, request.grpc = request.name+", over gRPC", true
				requests = append(requests, request)
			}
		}
	}
	return requests
}

func marshal(t *testing.T, message proto.Message) []byte {
	t.Helper()
	data, err := proto.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// A call whose user is at hand is answered as others are, and looks up nothing.
func TestUserAtHandIsAnsweredAlike(t *testing.T) {
	t.Parallel()
	reader := newAskedReader()
	start := func(r server.Reader) *servertest.Server {
		return servertest.Start(t, func(config *server.Config) { config.HTTP2, config.Reader = server.Std, r })
	}
	without, with := start(reader), start(nearbyReader{reader})
	for name, client := range map[string]*http.Client{"HTTP/1.1": servertest.HTTP1(t), "HTTP/2": servertest.HTTP2(t)} {
		for _, request := range nearRequests(t) {
			t.Run(name+" "+request.name, func(t *testing.T) {
				want := request.send(t, client, without)
				asked := reader.asked.Load()
				if diff := cmp.Diff(want, request.send(t, client, with)); diff != "" {
					t.Errorf("answer with a user that is looked up, and with one at hand:\n%s", diff)
				}
				took := reader.asked.Load() == asked
				far := request.far || name == "HTTP/1.1" && request.grpc
				if took && strings.Contains(want, nearID(3)) && far {
					t.Error("it looks up no user")
				} else if !took && !far {
					t.Error("it looks up the user")
				}
			})
		}
	}
}

// fullReader is a reader of a store that refuses every call.
type fullReader struct{ asked atomic.Int64 }

func (r *fullReader) Lookup(context.Context, string, cache.Read) (cache.Entry, error) {
	r.asked.Add(1)
	return cache.Entry{}, store.ErrOverloaded
}

func (r *fullReader) LookupMany(context.Context, []string, cache.Read) ([]cache.Entry, error) {
	return nil, store.ErrOverloaded
}

func (r *fullReader) LookupByEmail(context.Context, string, cache.Read) (cache.Entry, error) {
	return cache.Entry{}, store.ErrOverloaded
}

func (r *fullReader) LookupByExternalID(context.Context, string, cache.Read) (cache.Entry, error) {
	return cache.Entry{}, store.ErrOverloaded
}

// A call that is refused before it begins is answered as one that the store refuses, and
// asks nobody.
func TestRefusedEarlyIsAnsweredAlike(t *testing.T) {
	t.Parallel()
	reader := new(fullReader)
	late := servertest.Start(t, func(config *server.Config) { config.Reader = reader })
	var refused atomic.Int64
	early := servertest.Start(t, func(config *server.Config) {
		config.Reader, config.Refuse = reader, func(context.Context, string) error {
			refused.Add(1)
			return store.ErrOverloaded
		}
	})
	client := servertest.HTTP2(t)
	for _, request := range nearRequests(t) {
		t.Run(request.name, func(t *testing.T) {
			before := reader.asked.Load()
			want := request.send(t, client, late)
			asked, counted := reader.asked.Load(), refused.Load()
			if diff := cmp.Diff(want, request.send(t, client, early)); diff != "" {
				t.Errorf("refused by the store, and early:\n%s", diff)
			}
			asks := reader.asked.Load() != asked
			if !request.far && asks {
				t.Error("it asks the store")
			}
			if refused.Load() != counted && (asks || asked == before) {
				t.Error("it is counted as refused early, and is not")
			}
		})
	}
}

// It is counted as others are, by RPC and by caller.
func TestRefusedEarlyIsCounted(t *testing.T) {
	t.Parallel()
	for _, transport := range []server.Transport{server.Engine, server.Std} {
		t.Run(string(transport), func(t *testing.T) {
			t.Parallel()
			var callers []string
			g := startGuarded(t, func(config *server.Config) {
				config.HTTP2, config.Logger = transport, slog.New(slog.DiscardHandler)
				config.Reader, config.Refuse = new(fullReader), func(ctx context.Context, _ string) error {
					callers = append(callers, auth.NameOf(ctx))
					return store.ErrOverloaded
				}
			}, tokenLine("one", everyScope))
			client := g.ClientOf(changing(servertest.HTTP2(t), func(req *http.Request) { setToken(req, "one") }), grpcBinary.options...)
			_, err := client.GetUser(t.Context(), &userv1.GetUserRequest{UserId: nearID(0)})
			if connect.CodeOf(err) != connect.CodeResourceExhausted || !slices.Equal(callers, []string{"one"}) {
				t.Errorf("error %v, asked for %q", err, callers)
			}
			metrics := g.metrics(t, "one")
			for _, want := range []string{
				`rpc_server_call_duration_seconds_count{rpc_method="user.v1.UserService/GetUser",rpc_response_status_code="RESOURCE_EXHAUSTED",rpc_system_name="grpc"} 1`,
				`rpc_server_request_size_bytes_count{rpc_method="user.v1.UserService/GetUser"} 1`,
				`userd_auth_accepted_total{kind="token"} 1`,
			} {
				if !strings.Contains(metrics, want) {
					t.Errorf("metrics lack %s", want)
				}
			}
		})
	}
}

// send sends the request to a server and returns all of the answer.
func (s nearRequest) send(t *testing.T, client *http.Client, running *servertest.Server) string {
	t.Helper()
	contentType, body := "application/", s.message
	if s.grpc {
		contentType = "application/grpc+"
		body = string(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(s.message)))) + s.message
	}
	if s.stream != "" {
		body = s.stream
	}
	if s.format == "" {
		s.format = "proto"
	}
	var sent io.Reader = strings.NewReader(body)
	if s.chunked {
		sent = io.MultiReader(sent)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, running.URL+userv1connect.UserServiceGetUserProcedure, sent)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept-Encoding", "identity") // Or the client asks for gzip.
	req.Header.Set("Content-Type", contentType+s.format)
	req.Header.Set("X-Request-Id", someID) // Else each answer that has one has another.
	for pair := range slices.Chunk(s.header, 2) {
		req.Header.Set(pair[0], pair[1])
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var answer bytes.Buffer
	answer.WriteString(res.Status + "\n")
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	res.Header.Del("Date")
	for _, err := range []error{res.Header.Write(&answer), res.Trailer.Write(&answer)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	answer.Write(data)
	return answer.String()
}
