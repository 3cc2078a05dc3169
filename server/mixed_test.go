package server_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"flag"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectgzip"
	"connectrpc.com/connect/v2/connecthttp"
	"connectrpc.com/connect/v2/connectproto"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/example/userd/cache"
	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/server"
	"github.com/example/userd/server/h2"
	"github.com/example/userd/server/lane"
	"github.com/example/userd/server/servertest"
	"github.com/example/userd/store"
)

var (
	mixedCalls = flag.Int("mixed", 600, "how many calls the tests of mixed callers make")
	mixedSeed  = flag.Uint64("mixed-seed", 0, "what their chance begins with; 0 is the time")
)

// mix makes calls of many callers on many connections at a time, and compares what has come of
// them with what comes of each alone. caller makes one call after the other.
func mix(t *testing.T, o *oracle, dial func() net.Conn, caller func(*rand.Rand) func() *mixedCall) {
	t.Helper()
	seed := *mixedSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	var left, wrong atomic.Int64
	left.Store(int64(*mixedCalls))
	var all sync.WaitGroup
	for i := range uint64(8) {
		all.Go(func() {
			for round := uint64(0); left.Load() > 0 && wrong.Load() == 0; round++ {
				random := rand.New(rand.NewPCG(seed, i<<32|round))
				var ended []*mixedStream // The connection has a lock.
				c := newMixedConn(dial(), random, false, func(s *mixedStream) { ended = append(ended, s) })
				next, n := caller(random), 1+random.IntN(400)
				err := c.run(func() *mixedCall {
					if n--; n < 0 || left.Add(-1) < 0 {
						return nil
					}
					return next()
				})
				_ = c.conn.Close()
				if err != nil {
					wrong.Add(1)
					t.Errorf("seed %d: connection: %v", seed, err)
					return
				}
				for _, s := range ended {
					want := o.answer(s.call)
					if s.call.trailer != nil && strings.HasPrefix(want.Reset, connectionEnded) {
						continue // The answer was there before the trailer, of which net/http knows nothing then.
					}
					if diff := cmp.Diff(want, normal(s.call, s.answer)); diff != "" {
						wrong.Add(1)
						t.Errorf("seed %d: %v\n(-alone +mixed)\n%s", seed, s.call, diff)
						return
					}
				}
			}
		})
	}
	all.Wait()
}

// dialFrom connects to a server that is there, from an address of this machine if it is not nil.
func dialFrom(from net.Addr, address string) net.Conn {
	conn, err := (&net.Dialer{LocalAddr: from}).Dial("tcp", address)
	if err != nil {
		panic(err)
	}
	return conn
}

// flickering is a reader whose users are at hand now and then.
type flickering struct {
	server.Reader
	users map[string]cache.Entry
	turn  *atomic.Int64
}

func (r flickering) Lookup(_ context.Context, id string, _ cache.Read) (cache.Entry, error) {
	return r.users[id], nil
}

func (r flickering) LookupMany(_ context.Context, ids []string, _ cache.Read) ([]cache.Entry, error) {
	entries := make([]cache.Entry, len(ids))
	for i, id := range ids {
		entries[i] = r.users[id]
	}
	return entries, nil
}

func (r flickering) Cached(id string, _ cache.Read) (cache.Entry, bool) {
	return r.users[id], r.turn.Add(1)%5 != 0
}

// mixedID is the id of a user. There are four, and others who are not there.
func mixedID(i int) string { return fmt.Sprintf("aaaaaaaa-1111-4111-8111-%012d", i) }

func newFlickering() flickering {
	r := flickering{users: make(map[string]cache.Entry), turn: new(atomic.Int64)}
	for i, roles := range []int{0, 1, 20, 64} {
		user := store.User{ID: mixedID(i), Email: testEmail(i), DisplayName: testName(i), Version: int64(i + 1)}
		for j := range roles {
			user.Roles = append(user.Roles, fmt.Sprintf("role-%d-%s", j, strings.Repeat("x", j)))
		}
		r.users[user.ID] = cache.Entry{Data: encode(user), Version: user.Version, Found: true}
	}
	return r
}

// choices are what calls differ in: names and values of fields, of which the first are the usual
// ones. A name of a pseudo field changes what is there, "trailer" is a field behind the body.
func choices(authorization, tags []string) [][][]string {
	fieldOf := func(name string, values ...string) (choice [][]string) {
		choice = append(choice, nil)
		for _, value := range values {
			choice = append(choice, []string{name, value})
		}
		return choice
	}
	return [][][]string{
		fieldOf("authorization", authorization...)[1:],
		fieldOf("if-none-match", tags...),
		{nil, {"accept-encoding", "gzip", "grpc-accept-encoding", "gzip"}, {"accept-encoding", "zstd, gzip"}, {"accept-encoding", "br"}, {"accept-encoding", "gzip;q=0"}},
		fieldOf("cache-control", "no-cache", "max-age=0"),
		fieldOf("x-request-id", mixedID(100), mixedID(101), "no id"),
		fieldOf("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "none"),
		{nil, {"grpc-timeout", "1H", "connect-timeout-ms", "3600000"}, {"grpc-timeout", "30S", "connect-timeout-ms", "30000"}, {"grpc-timeout", "soon", "connect-timeout-ms", "soon"}},
		{{":authority", "test"}, {":authority", "example.com"}, {":authority", "evil.example"}, {":authority", "localhost:1"}},
		fieldOf("te", "trailers"),
		{nil, {"cookie", "a=b"}, {"cookie", "a=b", "cookie", "c=d"}},
		fieldOf("user-agent", "grpc-go/1.85.0", "curl", strings.Repeat("long", 1500)),
		{
			nil, nil, nil,
			{":method", "HEAD"},
			{":method", "PUT"},
			{":scheme", "https"},
			{"authorization", authorization[0]},
			{"expect", "100-continue"},
			{"origin", "http://evil.example"},
			{"host", "test"},
			{"connect-protocol-version", "2"},
			{"trailer", "x-end"},
			{"x-more", strings.Repeat("m", 5000)},
			{"grpc-encoding", "gzip"},
			{"content-encoding", "gzip"},
		},
	}
}

// mixedForm is how a message is sent. Those of a GET have no content type.
type mixedForm struct {
	contentType    string
	query          []string // Their order, for a GET.
	json, envelope bool
}

var mixedForms = []mixedForm{
	{contentType: "application/grpc", envelope: true},
	{contentType: "application/grpc+json", envelope: true, json: true},
	{contentType: "application/grpc-web+proto", envelope: true},
	{contentType: "application/proto"},
	{contentType: "application/json", json: true},
	{query: []string{"encoding", "message"}},
	{query: []string{"message", "base64", "connect", "encoding"}},
	{query: []string{"connect", "encoding", "message"}, json: true},
	{query: []string{"encoding", "other", "message"}},
	{query: []string{"encoding", "message", "message"}},
}

// call makes a call of this form of a message, which is asJSON in JSON.
func (f mixedForm) call(procedure string, message []byte, asJSON string) *mixedCall {
	m, method, encoding := new(mixedCall), "POST", "proto"
	if f.json {
		message, encoding = []byte(asJSON), "json"
	}
	if f.contentType == "" {
		method, m.noBody = "GET", true
		values := map[string]string{"encoding": encoding, "message": string(message), "connect": "v1", "base64": "1", "other": "x"}
		if slices.Contains(f.query, "base64") {
			values["message"] = base64.RawURLEncoding.EncodeToString(message)
		}
		var pairs []string
		for _, name := range f.query {
			pairs = append(pairs, name+"="+url.QueryEscape(values[name]))
		}
		procedure += "?" + strings.Join(pairs, "&")
	} else if m.body = string(message); f.envelope {
		m.body = string([]byte{0, 0, 0, 0, byte(len(message))}) + m.body
	}
	m.add(":method", method)
	m.add(":scheme", "http")
	m.add(":authority", "test")
	m.add(":path", procedure)
	if f.contentType != "" {
		m.add("content-type", f.contentType)
	}
	return m
}

// with is the call with what was chosen.
func (m *mixedCall) with(chosen []string) {
	for pair := range slices.Chunk(chosen, 2) {
		at := slices.IndexFunc(m.fields, func(f hpack.HeaderField) bool { return f.Name == pair[0] && f.IsPseudo() })
		if at >= 0 {
			m.fields[at].Value = pair[1]
		} else {
			m.add(pair[0], pair[1])
		}
		if pair[0] == "trailer" {
			m.noBody, m.trailer = false, []hpack.HeaderField{{Name: pair[1], Value: "1"}}
		}
	}
}

// varied makes calls of which each has most in common with the one before.
func varied(random *rand.Rand, from [][][]string, begin func() *mixedCall) func() *mixedCall {
	chosen := make([]int, len(from))
	change := func(i int) {
		if chosen[i] = 0; i == 0 || random.IntN(3) == 0 {
			chosen[i] = random.IntN(len(from[i]))
		}
	}
	for i := range chosen {
		change(i)
	}
	return func() *mixedCall {
		for range random.IntN(3) {
			change(random.IntN(len(chosen)))
		}
		m := begin()
		for i, choice := range from {
			m.with(choice[chosen[i]])
		}
		return m
	}
}

// Callers who share connections get what each would get alone, from net/http: their own users,
// and what their credentials let them have.
func TestMixedCallersGetWhatIsTheirs(t *testing.T) {
	t.Parallel()
	reader, users := newFlickering(), servertest.NewStore(t)
	lines := []string{tokenLine("reader", "users.read"), tokenLine("lister", "users.list"), tokenLine("all", everyScope)}
	var dials [2]func() net.Conn
	var known *guarded
	for i, transport := range []server.Transport{server.Std, server.Engine} {
		known = startGuarded(t, func(config *server.Config) {
			if known != nil {
				config.Auth = known.auth
			}
			config.HTTP2, config.Reader, config.Store, config.Logger = transport, reader, users, nil
		}, lines...)
		address := strings.TrimPrefix(known.URL, "http://")
		dials[i] = func() net.Conn {
			// Who shows wrong credentials again and again is answered late.
			from := &net.TCPAddr{IP: net.IPv4(127, byte(rand.IntN(250)), byte(rand.IntN(250)), byte(1+rand.IntN(250)))}
			return dialFrom(from, address)
		}
	}
	o := &oracle{dial: dials[0], known: make(map[string]mixedAnswer)}
	t.Cleanup(o.close)
	tags := []string{"*", `"other"`}
	for i := range 2 {
		m := mixedForms[5].call(userv1connect.UserServiceGetUserProcedure, marshal(t, &userv1.GetUserRequest{UserId: mixedID(i)}), "")
		m.add("authorization", "Bearer all")
		for _, line := range o.answer(m).Header {
			if tag, ok := strings.CutPrefix(line, "etag: "); ok {
				tags = append(tags, tag)
			}
		}
	}
	if len(tags) != 4 {
		t.Fatalf("tags are %q", tags)
	}
	from := choices([]string{"Bearer reader", "Bearer lister", "Bearer all", "bearer  reader", "Basic reader", "Bearer nobody", "Bearer reader,"}, tags)
	mix(t, o, dials[1], func(random *rand.Rand) func() *mixedCall {
		return varied(random, from, func() *mixedCall {
			id, form := mixedID(random.IntN(5)), mixedForms[random.IntN(len(mixedForms))]
			if random.IntN(5) == 0 {
				return form.call(userv1connect.UserServiceBatchGetUsersProcedure,
					marshal(t, &userv1.BatchGetUsersRequest{UserIds: []string{id, mixedID(0)}}), `{"userIds": ["`+id+`", "`+mixedID(0)+`"]}`)
			}
			return form.call(userv1connect.UserServiceGetUserProcedure, marshal(t, &userv1.GetUserRequest{UserId: id}), `{"userId": "`+id+`"}`)
		})
	})
}

type sayerKey struct{}

// sayer is the permit of somebody, which does not hold for long.
type sayer struct {
	name string
	turn *atomic.Int64
}

func (s *sayer) Valid() bool { return s.turn.Add(1)%7 != 0 }

func (s *sayer) Value(key any) any {
	if key == (sayerKey{}) {
		return s.name
	}
	return nil
}

// say tells all that it knows of its call, in the way that the request says.
func say(ctx context.Context, _ connect.Spec, stream connect.ServerStream) error {
	var request wrapperspb.StringValue
	if err := stream.Receive(&request); err != nil {
		return err
	}
	info, _ := connect.CallInfoForServerContext(ctx)
	_, hasDeadline := ctx.Deadline()
	name, _ := ctx.Value(sayerKey{}).(string)
	how, size, _ := strings.Cut(request.GetValue(), " ")
	answer := fmt.Sprint(name, how, info.RequestHeader().Values("X-Request-Id"), info.RequestHeader().Values("Host"), hasDeadline,
		info.Protocol, info.Codec, info.RequestEncoding, info.ResponseEncoding, info.ReceiveStats)
	info.ResponseHeader().Set("X-Said", name+how)
	info.ResponseTrailer().Set("X-Said-Last", how+name)
	long, _ := strconv.Atoi(size) // 0 where none is told.
	switch how {
	case "fail":
		return connect.NewError(connect.CodeAborted, answer)
	case "panic":
		panic(http.ErrAbortHandler)
	}
	return stream.Send(wrapperspb.String(answer + strings.Repeat("x", long) + answer))
}

// Calls of the lane get what is theirs, those that wait and those that do not, as large as their
// answers may be.
func TestMixedCallsOfTheLaneGetWhatIsTheirs(t *testing.T) {
	t.Parallel()
	const procedure = "/test.v1.TestService/Say"
	rpc := connect.NewServer()
	rpc.Register(connect.Method{Spec: connect.Spec{Procedure: procedure, IdempotencyLevel: connect.IdempotencyNoSideEffects}, Handler: say})
	mux := http.NewServeMux()
	connecthttp.Mount(mux, rpc, connecthttp.WithCompressors(connectgzip.New()), connecthttp.WithCompressMinBytes(100))
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok {
			http.Error(w, "who is it?", http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), sayerKey{}, name)))
	})
	turn := new(atomic.Int64)
	engine := h2.New(h2.Config{Handler: handler, Direct: lane.New(lane.Config{
		Server: rpc, Codecs: []connect.Codec{connectproto.NewBinaryCodec(), connectproto.NewJSONCodec()},
		Compressors: []connect.Compressor{connectgzip.New()}, CompressMinBytes: 100,
		Authorize: func(_ context.Context, _ string, authorization []string, _ *tls.ConnectionState) lane.Permit {
			name, ok := strings.CutPrefix(strings.Join(authorization, ","), "Bearer ")
			if !ok || len(authorization) > 1 || turn.Add(1)%11 == 0 {
				return nil
			}
			return &sayer{name, turn}
		},
		Ready: func(ctx context.Context, _ *connect.CallInfo, _ []byte) (context.Context, lane.Request, bool) {
			return ctx, nil, turn.Add(1)%5 != 0
		},
	})})
	t.Cleanup(func() {
		if err := engine.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	serve := func(wrap func(net.Listener) net.Listener) func() net.Conn {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		plain := &http.Server{Handler: handler, Protocols: new(http.Protocols), ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
		plain.Protocols.SetUnencryptedHTTP2(true)
		served := make(chan error, 1)
		go func() { served <- plain.Serve(wrap(listener)) }()
		t.Cleanup(func() {
			_ = plain.Close() // There is nothing left to lose.
			<-served
		})
		return func() net.Conn { return dialFrom(nil, listener.Addr().String()) }
	}
	o := &oracle{dial: serve(func(listener net.Listener) net.Listener { return listener }), known: make(map[string]mixedAnswer)}
	t.Cleanup(o.close)
	from := choices([]string{"Bearer one", "Bearer two", "Bearer three", "Basic one"}, nil)
	texts := []string{"a", "b", "c", "fail", "panic", "d 1000", "e 20000", "f 70000", "g 300000"}
	mix(t, o, serve(engine.Listener), func(random *rand.Rand) func() *mixedCall {
		return varied(random, from, func() *mixedCall {
			text := texts[random.IntN(len(texts))]
			return mixedForms[random.IntN(len(mixedForms))].call(procedure, marshal(t, wrapperspb.String(text)), strconv.Quote(text))
		})
	})
}
