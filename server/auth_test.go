package server_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"connectrpc.com/grpcreflect/v2"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/server"
	"github.com/example/userd/server/auth"
	"github.com/example/userd/server/auth/authtest"
	"github.com/example/userd/server/servertest"
)

// authority makes certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// newAuthority returns one, and a pool that trusts it.
func newAuthority(tb testing.TB) (*authority, *x509.CertPool) {
	tb.Helper()
	a := new(authority)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	certificate := a.issue(tb, template)
	a.cert = certificate.Leaf
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return a, pool
}

// issue makes a certificate, of the authority itself if it has none.
func (a *authority) issue(tb testing.TB, template *x509.Certificate) tls.Certificate {
	tb.Helper()
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer, a.key = template, key, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		tb.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// guarded is a server that knows its callers by a file and an issuer.
type guarded struct {
	*servertest.Server
	authority *authority
	path      string
	issuer    *authtest.Issuer
	leaving   *authtest.Key // Of it, until it goes.
	stranger  *authtest.Key // Of somebody else, with the id of one of its keys.
	keys      string        // The file with its keys.
	auth      *auth.Authorizer
	log       bytes.Buffer
}

// startGuarded runs one whose file has these lines.
func startGuarded(tb testing.TB, configure func(*server.Config), lines ...string) *guarded {
	tb.Helper()
	g := &guarded{path: filepath.Join(tb.TempDir(), "auth"), keys: filepath.Join(tb.TempDir(), "keys"), issuer: authtest.NewIssuer(tb)}
	g.leaving, g.stranger = authtest.NewKey(tb, "leaving", "ES256"), authtest.NewKey(tb, "first", "ES256")
	g.issuer.Add(g.leaving)
	g.write(tb, lines...)
	var err error
	if g.auth, err = auth.New(auth.Config{File: g.path, Keys: g.keys, Issuer: authtest.Name, Audience: authtest.Audience}); err != nil {
		tb.Fatal(err)
	}
	g.Server = servertest.Start(tb, func(config *server.Config) {
		config.Auth = g.auth
		config.Logger = slog.New(slog.NewTextHandler(&g.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		if configure != nil {
			configure(config)
		}
	})
	return g
}

// startCertified is startGuarded where callers may have certificates.
func startCertified(tb testing.TB, configure func(*server.Config), lines ...string) *guarded {
	tb.Helper()
	issuer, pool := newAuthority(tb)
	g := startGuarded(tb, func(config *server.Config) {
		withTLS(config)
		config.TLS.ClientCAs, config.TLS.ClientAuth = pool, tls.VerifyClientCertIfGiven
		configure(config)
	}, lines...)
	g.authority = issuer
	return g
}

func (g *guarded) write(tb testing.TB, lines ...string) {
	tb.Helper()
	for path, text := range map[string]string{g.path: strings.Join(lines, "\n"), g.keys: g.issuer.Set()} {
		if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
}

// change makes the file another one.
func (g *guarded) change(tb testing.TB, lines ...string) {
	tb.Helper()
	g.write(tb, lines...)
	if err := g.auth.Reload(); err != nil {
		tb.Fatal(err)
	}
}

// metrics are those of the server.
func (g *guarded) metrics(tb testing.TB, token string) string {
	tb.Helper()
	answer := httptest.NewRecorder()
	req := httptest.NewRequest(http.MethodGet, "http://localhost/metrics", nil)
	req.Header.Set("Authorization", "Bearer "+token)
	g.Admin().ServeHTTP(answer, req)
	if answer.Code != http.StatusOK {
		tb.Fatalf("/metrics: status %d", answer.Code)
	}
	return answer.Body.String()
}

// tokenLine is the line of a file for a token that is the name of its principal.
func tokenLine(name, scopes string) string {
	sum := sha256.Sum256([]byte(name))
	return name + " sha256:" + hex.EncodeToString(sum[:]) + " " + scopes
}

const everyScope = "users.read,users.list,users.write,users.delete,admin"

// scopesBut are all scopes but one.
func scopesBut(scope string) string {
	return strings.Trim(strings.ReplaceAll(strings.ReplaceAll(everyScope, scope, ""), ",,", ","), ",")
}

// rpc is an RPC with the scope that it needs.
type rpc struct {
	name, scope string
	call        func(ctx context.Context, client userv1connect.UserServiceClient) error
}

// rpcs are all there are.
var rpcs = []rpc{
	{"GetUser", "users.read", func(ctx context.Context, client userv1connect.UserServiceClient) error {
		return send(ctx, client, &userv1.GetUserRequest{UserId: someID})
	}},
	{"BatchGetUsers", "users.read", func(ctx context.Context, client userv1connect.UserServiceClient) error {
		return send(ctx, client, &userv1.BatchGetUsersRequest{UserIds: []string{someID}})
	}},
	{"ListUsers", "users.list", func(ctx context.Context, client userv1connect.UserServiceClient) error {
		return send(ctx, client, &userv1.ListUsersRequest{})
	}},
	{"SearchUsers", "users.list", func(ctx context.Context, client userv1connect.UserServiceClient) error {
		return send(ctx, client, &userv1.SearchUsersRequest{})
	}},
	{"GetUserByEmail", "users.list", func(ctx context.Context, client userv1connect.UserServiceClient) error {
		return send(ctx, client, &userv1.GetUserByEmailRequest{Email: testEmail(1)})
	}},
	{"GetUserByExternalId", "users.list", func(ctx context.Context, client userv1connect.UserServiceClient) error {
		return send(ctx, client, &userv1.GetUserByExternalIdRequest{ExternalId: "x"})
	}},
	{"WatchUsers", "users.list", func(ctx context.Context, client userv1connect.UserServiceClient) error {
		return send(ctx, client, &userv1.WatchUsersRequest{Cursor: "none"})
	}},
	{"CreateUser", "users.write", func(ctx context.Context, client userv1connect.UserServiceClient) error {
		return send(ctx, client, newUserRequest(1))
	}},
	{"BatchCreateUsers", "users.write", func(ctx context.Context, client userv1connect.UserServiceClient) error {
		_, err := importRows(ctx, client, []*userv1.CreateUserRequest{newUserRequest(2)})
		return err
	}},
	{"UpdateUser", "users.write", func(ctx context.Context, client userv1connect.UserServiceClient) error {
		return send(ctx, client, &userv1.UpdateUserRequest{Update: &userv1.UserUpdate{UserId: someID}})
	}},
	{"StreamUserUpdates", "users.write", func(ctx context.Context, client userv1connect.UserServiceClient) error {
		_, err := sendUpdates(ctx, client, []*userv1.UserUpdate{{UserId: someID}})
		return err
	}},
	{"RecordLogin", "users.write", func(ctx context.Context, client userv1connect.UserServiceClient) error {
		return send(ctx, client, &userv1.RecordLoginRequest{UserId: someID})
	}},
	{"DeleteUser", "users.delete", func(ctx context.Context, client userv1connect.UserServiceClient) error {
		return send(ctx, client, &userv1.DeleteUserRequest{UserId: someID})
	}},
}

var (
	unauthenticated = failure{code: connect.CodeUnauthenticated, reason: userv1.Reason_REASON_UNAUTHENTICATED}
	denied          = failure{code: connect.CodePermissionDenied, reason: userv1.Reason_REASON_PERMISSION_DENIED}
)

// checkLetIn checks that a call was not refused for its credentials, whatever else.
func checkLetIn(tb testing.TB, err error) {
	tb.Helper()
	if code := connect.CodeOf(err); err != nil && (code == connect.CodeUnauthenticated || code == connect.CodePermissionDenied) {
		tb.Errorf("the call is refused: %v", err)
	}
}

// callers are ways to be somebody: with the client of a caller, by its name; "" has no
// credentials.
type callers struct {
	lines  func(name, scopes string) string
	client func(g *guarded, base func(testing.TB) *http.Client, tb testing.TB, name string) *http.Client
	tls    bool     // They have certificates.
	wrong  []string // Names of those who are not let in.
}

var credentials = map[string]callers{
	"token": {
		lines: tokenLine,
		wrong: []string{"unknown"},
		client: func(_ *guarded, base func(testing.TB) *http.Client, tb testing.TB, name string) *http.Client {
			return changing(base(tb), func(req *http.Request) {
				if name != "" {
					req.Header.Set("Authorization", "Bearer "+name)
				}
			})
		},
	},
	"jwt": {
		lines: func(string, string) string { return "" },
		wrong: []string{"unknown", "malformed", "expired", "early", "for-others", "of-others"},
		client: func(g *guarded, base func(testing.TB) *http.Client, tb testing.TB, name string) *http.Client {
			return changing(base(tb), func(req *http.Request) {
				if name != "" {
					req.Header.Set("Authorization", "Bearer "+g.jwt(tb, name))
				}
			})
		},
	},
	"certificate": {
		tls:   true,
		wrong: []string{"unknown", "nameless"},
		lines: func(name, scopes string) string { return name + " cert:" + name + ".internal " + scopes },
		client: func(g *guarded, base func(testing.TB) *http.Client, tb testing.TB, name string) *http.Client {
			client := base(tb)
			if name != "" {
				showing(client, g.authority.issue(tb, certificateOf(name)))
			}
			return client
		},
	},
}

// certificateOf is what a certificate of a caller has.
func certificateOf(name string) *x509.Certificate {
	template := &x509.Certificate{SerialNumber: big.NewInt(2), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if name != "nameless" {
		template.DNSNames = []string{name + ".internal"}
	}
	return template
}

// showing is a client that shows a certificate to servers.
func showing(client *http.Client, certificate tls.Certificate) *http.Client {
	client.Transport.(*http.Transport).TLSClientConfig.Certificates = []tls.Certificate{certificate}
	return client
}

// jwt is the token of a caller who is what its name says.
func (g *guarded) jwt(tb testing.TB, name string) string {
	tb.Helper()
	claims := map[string]any{"sub": name, "scope": strings.ReplaceAll(everyScope, ",", " ") + " openid"}
	if scope, ok := strings.CutPrefix(name, "has-"); ok {
		claims["scope"], claims["scp"] = nil, []string{"openid", scope}
	}
	if scope, ok := strings.CutPrefix(name, "lacks-"); ok {
		claims["scope"] = strings.ReplaceAll(scopesBut(scope), ",", " ")
	}
	switch name {
	case "removed":
		return g.leaving.Sign(tb, claims)
	case "unknown":
		return g.stranger.Sign(tb, claims)
	case "malformed":
		return "e30.e30.e30"
	case "expired":
		claims["exp"] = time.Now().Add(-2 * time.Minute).Unix()
	case "early":
		claims["nbf"] = time.Now().Add(2 * time.Minute).Unix()
	case "for-others":
		claims["aud"] = []string{"others"}
	case "of-others":
		claims["iss"] = "https://others.example.com"
	}
	return g.issuer.Sign(tb, claims)
}

// way is a protocol over a version of HTTP.
type way struct {
	protocol
	http func(testing.TB) *http.Client
}

// isHTTP1 reports whether it cannot carry bidi streams.
func (w way) isHTTP1() bool { return strings.HasSuffix(w.name, "1.1") }

// rpcs are those that can be called so.
func (w way) rpcs() []rpc {
	if !w.isHTTP1() {
		return rpcs
	}
	return slices.DeleteFunc(slices.Clone(rpcs), func(r rpc) bool { return r.name == "StreamUserUpdates" })
}

var (
	webOver1     = protocol{"grpc-web 1.1", grpcWeb.options}
	connectOver1 = protocol{"connect 1.1", connectRPC.options}
	jsonOver1    = protocol{"connect json 1.1", connectJSON.options}
	getOver1     = protocol{"connect get 1.1", connectGet.options}
	allWays      = []way{
		{grpcBinary, servertest.HTTP2},
		{grpcJSON, servertest.HTTP2},
		{grpcWeb, servertest.HTTP2},
		{connectRPC, servertest.HTTP2},
		{connectJSON, servertest.HTTP2},
		{connectGet, servertest.HTTP2},
		{webOver1, servertest.HTTP1},
		{connectOver1, servertest.HTTP1},
		{jsonOver1, servertest.HTTP1},
		{getOver1, servertest.HTTP1},
	}
)

// The table above has every RPC.
func TestCredentialsAreTestedWithEveryRPC(t *testing.T) {
	t.Parallel()
	methods := userv1.File_user_v1_user_service_proto.Services().ByName("UserService").Methods()
	for i := range methods.Len() {
		name := string(methods.Get(i).Name())
		if !slices.ContainsFunc(rpcs, func(r rpc) bool { return r.name == name }) {
			t.Errorf("%s is not called", name)
		}
	}
}

// Every RPC is for those alone who have its scope, whichever way it is called, and so is
// every credential.
func TestCallersNeedCredentials(t *testing.T) {
	t.Parallel()
	for kind, callers := range credentials {
		for _, transport := range []server.Transport{server.Engine, server.Std} {
			for _, way := range allWays {
				t.Run(kind+" "+string(transport)+" "+way.name, func(t *testing.T) {
					t.Parallel()
					testCredentials(t, callers, transport, way)
				})
			}
		}
	}
}

func testCredentials(t *testing.T, by callers, transport server.Transport, over way) {
	var lines []string
	for _, scope := range strings.Split(everyScope, ",") {
		lines = append(lines, by.lines("has-"+scope, scope), by.lines("lacks-"+scope, scopesBut(scope)))
	}
	removed := by.lines("removed", everyScope)
	start := startGuarded
	if by.tls {
		start = startCertified
	}
	g := start(t, func(config *server.Config) { config.HTTP2 = transport }, append(lines, removed)...)
	clients := make(map[string]userv1connect.UserServiceClient)
	as := func(name string) userv1connect.UserServiceClient {
		if clients[name] == nil {
			clients[name] = g.ClientOf(by.client(g, over.http, t, name), over.options...)
		}
		return clients[name]
	}
	for _, rpc := range over.rpcs() {
		for range 2 { // The second is known to the connection.
			checkError(t, rpc.call(t.Context(), as("")), unauthenticated)
			for _, wrong := range by.wrong {
				checkError(t, rpc.call(t.Context(), as(wrong)), unauthenticated)
			}
			err := rpc.call(t.Context(), as("lacks-"+rpc.scope))
			checkError(t, err, denied)
			if !strings.Contains(err.Error(), rpc.scope) || strings.Contains(err.Error(), "lacks") {
				t.Errorf("%s: %v does not name the scope, or names the caller", rpc.name, err)
			}
		}
	}
	if users := stored(t, g.Store); len(users) > 0 {
		t.Fatalf("callers who may not have made %d users", len(users))
	}
	for _, rpc := range over.rpcs() {
		for range 2 {
			checkLetIn(t, rpc.call(t.Context(), as("has-"+rpc.scope)))
			checkLetIn(t, rpc.call(t.Context(), as("removed")))
		}
	}
	if users := stored(t, g.Store); len(users) == 0 {
		t.Error("callers who may have made no users")
	}
	g.issuer.Remove("leaving")
	g.change(t, lines...)
	for _, rpc := range over.rpcs() {
		checkError(t, rpc.call(t.Context(), as("removed")), unauthenticated)
		checkLetIn(t, rpc.call(t.Context(), as("has-"+rpc.scope)))
	}
}

// Probes may have credentials, since some clients send theirs with every call: good ones and bad.
func TestHealthTakesAnyCredentials(t *testing.T) {
	t.Parallel()
	for kind, callers := range credentials {
		for _, transport := range []server.Transport{server.Engine, server.Std} {
			for _, way := range []way{
				{grpcBinary, servertest.HTTP2}, {grpcWeb, servertest.HTTP2}, {connectRPC, servertest.HTTP2}, {connectOver1, servertest.HTTP1},
			} {
				t.Run(kind+" "+string(transport)+" "+way.name, func(t *testing.T) {
					t.Parallel()
					start := startGuarded
					if callers.tls {
						start = startCertified
					}
					g := start(t, func(config *server.Config) { config.HTTP2 = transport }, callers.lines("has-users.list", "users.list"))
					for _, name := range append([]string{"", "has-users.list"}, callers.wrong...) {
						client := callers.client(g, way.http, t, name)
						for range 3 { // The others are known to the connection.
							if got, err := health(t.Context(), client, g.URL, "", way.options...); got != serving {
								t.Errorf("as %q: health is %v, error %v", name, got, err)
							}
						}
					}
				})
			}
		}
	}
}

// Each way to send a header that is no token.
func TestMalformedCredentials(t *testing.T) {
	t.Parallel()
	for _, transport := range []server.Transport{server.Engine, server.Std} {
		for _, over := range allWays {
			t.Run(string(transport)+" "+over.name, func(t *testing.T) {
				t.Parallel()
				g := startGuarded(t, func(config *server.Config) { config.HTTP2 = transport }, tokenLine("one", everyScope))
				for _, header := range [][]string{{""}, {"Bearer"}, {"Basic b25lOm9uZQ=="}, {"Bearer one", "Bearer one"}, {"Bearer one,two"}} {
					client := g.ClientOf(changing(over.http(t), func(req *http.Request) { req.Header["Authorization"] = header }), over.options...)
					for _, rpc := range over.rpcs() {
						checkError(t, rpc.call(t.Context(), client), unauthenticated)
					}
				}
			})
		}
	}
}

// Callers without credentials are answered before they have sent a body, and their bodies
// are not waited for.
func TestCallersAreRefusedBeforeTheirBody(t *testing.T) {
	t.Parallel()
	for _, transport := range []server.Transport{server.Engine, server.Std} {
		g := startGuarded(t, func(config *server.Config) { config.HTTP2 = transport }, tokenLine("one", "users.list"))
		for _, rpc := range rpcs {
			t.Run(string(transport)+" "+rpc.name, func(t *testing.T) {
				t.Parallel()
				path := "/user.v1.UserService/" + rpc.name
				raw, _ := dialRaw(t, g.Server)
				raw.call(1, path)
				frame := awaitFrame(raw, func(frame *http2.HeadersFrame) bool { return frame.StreamID == 1 })
				if !frame.StreamEnded() {
					t.Error("the answer is not one frame")
				}
				for _, contentType := range []string{"application/json", "application/grpc-web", "text/plain"} {
					checkRefusedOver1(t, g, path, contentType)
				}
			})
		}
	}
}

// checkRefusedOver1 sends the header of a request that has a body.
func checkRefusedOver1(t *testing.T, g *guarded, path, contentType string) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(g.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	resp := exchange(t, conn, "POST "+path+" HTTP/1.1\r\nHost: localhost\r\nContent-Type: "+contentType+"\r\nContent-Length: 100\r\n\r\n")
	if contentType == "application/grpc-web" {
		if resp.Header.Get("Grpc-Status") != "16" {
			t.Errorf("%s: %s, %v", contentType, resp.Status, resp.Header)
		}
		return
	}
	if resp.StatusCode != http.StatusUnauthorized || resp.Header.Get("Www-Authenticate") != "Bearer" || !resp.Close {
		t.Errorf("%s: %s, %v", contentType, resp.Status, resp.Header)
	}
}

// What the engine remembers of a header is worth nothing when the file has changed, and is
// not forgotten where the caller stays.
func TestRememberedHeadersFollowTheFile(t *testing.T) {
	t.Parallel()
	line := tokenLine("one", "users.read")
	g := startGuarded(t, func(config *server.Config) { config.HTTP2 = server.Engine }, line)
	raw, _ := dialRaw(t, g.Server)
	table := hpack.NewDecoder(4096, nil)
	stream := uint32(1)
	call := func() (status string) {
		t.Helper()
		block := raw.fields(":method", "POST", ":scheme", "http", ":authority", raw.host, ":path", "/user.v1.UserService/GetUser",
			"content-type", "application/grpc", "authorization", "Bearer one")
		raw.must(raw.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block, EndHeaders: true}))
		raw.must(raw.framer.WriteData(stream, true, envelope(t, &userv1.GetUserRequest{UserId: someID})))
		for status == "" {
			frame := awaitFrame(raw, func(frame *http2.HeadersFrame) bool { return frame.StreamID == stream })
			fields, err := table.DecodeFull(frame.HeaderBlockFragment())
			raw.must(err)
			for _, field := range fields {
				if field.Name == "grpc-status" {
					status = field.Value
				}
			}
		}
		stream += 2
		return status
	}
	check := func(want string) {
		t.Helper()
		for range 3 { // The third block is the same as the second.
			if status := call(); status != want {
				t.Errorf("call %d: status %s, want %s", stream/2, status, want)
			}
		}
	}
	check("0")
	g.change(t, line, tokenLine("two", "users.read"))
	check("0")
	g.change(t, tokenLine("two", "users.read"))
	check("16")
	g.change(t, tokenLine("one", "users.list"))
	check("7")
	g.change(t, line)
	check("0")
}

// Over HTTP/2 a refused request may come to its end: curl 7.88 takes an answer for broken
// whose stream was reset. A stream of messages is answered before.
func TestRefusedRequestsAreNotReset(t *testing.T) {
	t.Parallel()
	for _, transport := range []server.Transport{server.Engine, server.Std} {
		for _, fields := range [][]string{
			{"content-type", "application/json", "content-length", "2"},
			{"content-type", "application/proto"},
			{"content-type", "application/connect+json"},
			{"content-type", "application/grpc-web"},
		} {
			t.Run(string(transport)+" "+fields[1], func(t *testing.T) {
				t.Parallel()
				g := startGuarded(t, func(config *server.Config) { config.HTTP2 = transport }, tokenLine("one", "users.list"))
				raw, _ := dialRaw(t, g.Server)
				block := raw.fields(append([]string{":method", "POST", ":scheme", "http", ":authority", "localhost", ":path", "/user.v1.UserService/GetUser"}, fields...)...)
				raw.must(raw.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndHeaders: true}))
				reset := false
				await := func(matches func(http2.Frame) bool) {
					awaitFrame(raw, func(frame http2.Frame) bool {
						reset = reset || frame.Header().Type == http2.FrameRSTStream
						return matches(frame)
					})
				}
				if len(fields) == 2 {
					await(func(frame http2.Frame) bool { return frame.Header().Type == http2.FrameHeaders })
				}
				raw.must(raw.framer.WriteData(1, true, []byte("{}")))
				await(func(frame http2.Frame) bool {
					return frame.Header().StreamID == 1 && frame.Header().Flags.Has(http2.FlagDataEndStream) && frame.Header().Type != http2.FrameRSTStream
				})
				raw.must(raw.framer.WritePing(false, [8]byte{1}))
				await(func(frame http2.Frame) bool {
					ping, ok := frame.(*http2.PingFrame)
					return ok && ping.IsAck()
				})
				if reset {
					t.Error("the stream was reset")
				}
			})
		}
	}
}

// A stream that is open ends when its credentials go, and says why.
func TestStreamsEndWithTheirCredentials(t *testing.T) {
	t.Parallel()
	for _, transport := range []server.Transport{server.Engine, server.Std} {
		for _, over := range allWays {
			t.Run(string(transport)+" "+over.name, func(t *testing.T) {
				t.Parallel()
				stays := tokenLine("stays", everyScope)
				g := startGuarded(t, func(config *server.Config) { config.HTTP2 = transport }, stays, tokenLine("goes", everyScope))
				client := func(name string) userv1connect.UserServiceClient {
					return g.ClientOf(credentials["token"].client(g, over.http, t, name), over.options...)
				}
				watched := watch(t, client("goes"), "")
				other := watch(t, client("stays"), "")
				receive(t, watched)
				receive(t, other)
				imported := openImport(t, client("goes"))
				streams := []func() error{func() error { _, err := watched.Receive(); return err }}
				if !over.isHTTP1() {
					updates := openUpdates(t, client("goes"))
					streams = append(streams, func() error { _, err := updates.Receive(); return err })
				}
				awaitImports(t, g, 1) // Else it would not be an open stream that the change finds.
				g.change(t, stays)
				for _, receive := range streams {
					err := receive()
					for err == nil {
						err = receive()
					}
					checkError(t, err, unauthenticated)
				}
				awaitImports(t, g, 0) // Each stream ends by itself; this one could be closed in time else.
				_, err := imported.CloseAndReceive()
				checkSaid(t, err)
				id := create(t, client("stays"), newUserRequest(3)).GetId()
				goesOn := func(event *userv1.UserEvent) bool { return event.GetUpserted().GetId() == id }
				for !slices.ContainsFunc(receive(t, other).GetEvents(), goesOn) { // What was imported comes before, or together.
				}
			})
		}
	}
}

// An import whose credentials go when it has come whole is finished, and what comes next on its
// connection, perhaps of somebody else behind a proxy, is served.
func TestRevokedImportLeavesItsConnection(t *testing.T) {
	t.Parallel()
	stays := tokenLine("stays", everyScope)
	begun, revoked := make(chan struct{}), make(chan struct{})
	g := startGuarded(t, func(config *server.Config) {
		config.Store = &faultyStore{Store: servertest.NewStore(t), before: func(_ context.Context, method string) error {
			if method == "Import" {
				close(begun)
				<-revoked
			}
			return nil
		}}
	}, stays, tokenLine("goes", everyScope))
	conn, err := dialHTTP1(g.Server)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	post := func(token, rpc, contentType, body string) {
		postOverHTTP1(t, conn, rpc, "Authorization: Bearer "+token+"\r\nContent-Type: "+contentType+"\r\n", body)
	}
	post("goes", "BatchCreateUsers", "application/connect+proto", string(envelope(t, newUserRequest(1))))
	<-begun
	g.change(t, stays)
	close(revoked)
	if text := answerOf(t, answers); strings.Contains(text, "error") {
		t.Errorf("the import is answered with %q", text)
	}
	post("stays", "GetUser", "application/json", `{"userId":"`+someID+`"}`)
	if text := answerOf(t, answers); !strings.HasPrefix(text, "200 ") {
		t.Errorf("the next request is answered with %q", text)
	}
}

// Nobody comes in with a certificate that is not good now, or for this: there is no connection.
func TestCertificatesThatAreNotGood(t *testing.T) {
	t.Parallel()
	for _, transport := range []server.Transport{server.Engine, server.Std} {
		for _, over := range allWays {
			t.Run(string(transport)+" "+over.name, func(t *testing.T) {
				t.Parallel()
				g := startCertified(t, func(config *server.Config) { config.HTTP2 = transport }, credentials["certificate"].lines("one", everyScope))
				stranger, _ := newAuthority(t)
				for name, certificate := range map[string]tls.Certificate{
					"expired":     g.authority.issue(t, lasting(certificateOf("one"), -2*time.Hour, -time.Hour)),
					"early":       g.authority.issue(t, lasting(certificateOf("one"), time.Hour, 2*time.Hour)),
					"of others":   stranger.issue(t, certificateOf("one")),
					"of a server": g.authority.issue(t, &x509.Certificate{SerialNumber: big.NewInt(3), DNSNames: []string{"one.internal"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}),
				} {
					client := g.ClientOf(showing(over.http(t), certificate), over.options...)
					for _, rpc := range over.rpcs() {
						if err := rpc.call(t.Context(), client); !unconnected(err) {
							t.Errorf("%s, %s: %v", name, rpc.name, err)
						}
					}
				}
				if users := stored(t, g.Store); len(users) > 0 {
					t.Errorf("callers who may not have made %d users", len(users))
				}
				checkNone(t, rpcs[0].call(t.Context(), g.ClientOf(credentials["certificate"].client(g, over.http, t, "one"), over.options...)))
			})
		}
	}
}

// unconnected reports whether a call has found no server. What it was told is what the system has
// told its client, while it wrote or while it read.
func unconnected(err error) bool {
	return err != nil && slices.Contains([]connect.Code{connect.CodeUnavailable, connect.CodeCanceled}, connect.CodeOf(err))
}

// lasting makes a certificate good for a time, from now on.
func lasting(template *x509.Certificate, from, until time.Duration) *x509.Certificate {
	template.NotBefore, template.NotAfter = time.Now().Add(from), time.Now().Add(until)
	return template
}

// With the end of a certificate all ends that its connection has begun, and the connection is
// worth nothing.
func TestStreamsEndWithTheirCertificate(t *testing.T) {
	t.Parallel()
	for _, transport := range []server.Transport{server.Engine, server.Std} {
		for _, over := range []way{{grpcBinary, servertest.HTTP2}, {connectJSON, servertest.HTTP2}, {webOver1, servertest.HTTP1}} {
			t.Run(string(transport)+" "+over.name, func(t *testing.T) {
				t.Parallel()
				g := startCertified(t, func(config *server.Config) { config.HTTP2 = transport }, credentials["certificate"].lines("one", everyScope))
				watched, get := whileGood(t, func(expires time.Time) userv1connect.UserServiceClient {
					template := certificateOf("one")
					template.NotBefore, template.NotAfter = expires.Add(-time.Hour), expires
					return g.ClientOf(showing(over.http(t), g.authority.issue(t, template)), over.options...)
				})
				checkEnd(t, watched)
				for range 3 {
					if err := get(); !over.isHTTP1() || !unconnected(err) { // Whose connection may have ended with the stream.
						checkError(t, err, unauthenticated)
					}
				}
			})
		}
	}
}

// With the end of a JWT all ends that it has begun, streams by themselves.
func TestStreamsEndWithTheirJWT(t *testing.T) {
	t.Parallel()
	for _, transport := range []server.Transport{server.Engine, server.Std} {
		for _, over := range []way{{grpcBinary, servertest.HTTP2}, {connectJSON, servertest.HTTP2}, {webOver1, servertest.HTTP1}} {
			t.Run(string(transport)+" "+over.name, func(t *testing.T) {
				t.Parallel()
				g := startGuarded(t, func(config *server.Config) { config.HTTP2 = transport })
				watched, get := whileGood(t, func(expires time.Time) userv1connect.UserServiceClient {
					token := g.issuer.Sign(t, map[string]any{"scope": "users.list users.read", "exp": expires.Add(-time.Minute).Unix()}) // And a minute of leeway.
					return g.ClientOf(changing(over.http(t), func(req *http.Request) { setToken(req, token) }), over.options...)
				})
				checkEnd(t, watched)
				for range 3 {
					checkError(t, get(), unauthenticated)
				}
			})
		}
	}
}

// expiring is a stream of a watcher whose credentials expire.
type expiring struct {
	userv1connect.UserServiceWatchUsersClientStream
	expires time.Time
}

// whileGood has a client, whose credentials expire soon, watch and get a user before then. A machine
// that takes longer gets more time. get gets the user again.
func whileGood(t *testing.T, clientUntil func(expires time.Time) userv1connect.UserServiceClient) (watched expiring, get func() error) {
	t.Helper()
	for lasts := 3 * time.Second; ; lasts *= 2 {
		expires := time.Now().Add(lasts).Truncate(time.Second)
		client := clientUntil(expires)
		get = func() error { return send(t.Context(), client, &userv1.GetUserRequest{UserId: someID}) }
		stream, err := client.WatchUsers(t.Context(), &userv1.WatchUsersRequest{})
		if err == nil {
			t.Cleanup(func() { _ = stream.Close() })
			_, err = stream.Receive()
		}
		if err == nil {
			err = get()
		}
		if err == nil {
			return expiring{stream, expires}, get
		}
		if time.Now().Before(expires) {
			t.Fatal(err)
		}
	}
}

// checkEnd checks that a watcher is told that its credentials have ended, and not before then.
func checkEnd(t *testing.T, watched expiring) {
	t.Helper()
	_, err := watched.Receive()
	for err == nil {
		_, err = watched.Receive()
	}
	checkError(t, err, unauthenticated)
	if early := time.Until(watched.expires); early > 0 {
		t.Errorf("the stream ended %s too early", early)
	}
}

// checkSaid checks that an import was told why it has ended, with what it has done.
func checkSaid(t *testing.T, err error) {
	t.Helper()
	authored := new(connect.Error)
	if !errors.As(err, &authored) || authored.Code() != connect.CodeUnauthenticated {
		t.Fatalf("the import ends with %v", err)
	}
	if summaries := details[*userv1.BatchCreateUsersResponse](t, authored); len(summaries) != 1 {
		t.Errorf("the import is told %v", summaries)
	}
}

// awaitImports waits until so many imports are open.
func awaitImports(t *testing.T, g *guarded, open int) {
	t.Helper()
	active := fmt.Sprintf(`rpc_server_active_calls{rpc_method="user.v1.UserService/BatchCreateUsers"} %d`, open)
	for !strings.Contains(g.metrics(t, "stays"), active+"\n") {
		runtime.Gosched()
	}
}

// openImport opens an import whose first row the server has.
func openImport(t *testing.T, client userv1connect.UserServiceClient) userv1connect.UserServiceBatchCreateUsersClientStream {
	t.Helper()
	imported, err := client.BatchCreateUsers(t.Context())
	if err == nil {
		err = imported.Send(newUserRequest(1))
	}
	if err != nil {
		t.Fatal(err)
	}
	return imported
}

// openUpdates opens a stream of updates that has had an answer.
func openUpdates(t *testing.T, client userv1connect.UserServiceClient) userv1connect.UserServiceStreamUserUpdatesClientStream {
	t.Helper()
	updates, err := client.StreamUserUpdates(t.Context())
	if err == nil {
		err = updates.Send(&userv1.UserUpdate{UserId: someID})
	}
	if err == nil {
		_, err = updates.Receive()
	}
	if err != nil {
		t.Fatal(err)
	}
	return updates
}

// Paths are compared as they are routed: none leads to an RPC without its scope.
func TestPathsDoNotLeadPastScopes(t *testing.T) {
	t.Parallel()
	g := startGuarded(t, nil, tokenLine("deletes", "users.delete"))
	id := fill(t, g.Store, 1)[0]
	message := "?encoding=json&message=%7B%22userId%22%3A%22" + id + "%22%7D"
	for _, path := range []string{
		"/user.v1.UserService/GetUser", "//user.v1.UserService/GetUser", "/user.v1.UserService//GetUser", "/user.v1.UserService/GetUser/",
		"/user.v1.UserService/Get%55ser", "/user.v1.UserService%2FGetUser", "/./user.v1.UserService/GetUser", "/x/../user.v1.UserService/GetUser",
		"/user.v1.UserService/GetUser%00", "/livez/../user.v1.UserService/GetUser", "/readyz/%2e%2e/user.v1.UserService/GetUser", "/USER.V1.USERSERVICE/GETUSER",
		"/user.v1.UserService/GetUser%2F", "/user.v1.UserService/GetUser;x",
	} {
		for _, base := range []func(testing.TB) *http.Client{servertest.HTTP1, servertest.HTTP2} {
			for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodHead} {
				for _, token := range []string{"", "deletes"} {
					req, err := http.NewRequestWithContext(t.Context(), method, g.URL+path+message, strings.NewReader(`{"userId":"`+id+`"}`))
					if err != nil {
						t.Fatal(err)
					}
					if method == http.MethodGet {
						req.Body, req.ContentLength = nil, 0
					}
					req.Header.Set("Content-Type", "application/json")
					setToken(req, token)
					resp, err := base(t).Do(req)
					if err != nil {
						t.Fatal(err)
					}
					body, _ := io.ReadAll(resp.Body)
					resp.Body.Close()
					if resp.StatusCode == http.StatusOK || bytes.Contains(body, []byte(private)) {
						t.Errorf("%s %s with %q: %s: %s", method, path, token, resp.Status, body)
					}
				}
			}
		}
	}
}

// setToken gives a request a token, unless that is "".
func setToken(req *http.Request, token string) {
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
}

// grpc-web-text is refused in its own form.
func TestWebTextIsRefused(t *testing.T) {
	t.Parallel()
	g := startGuarded(t, nil, tokenLine("one", "users.list"))
	for token, want := range map[string]string{"": "16", "two": "16", "one": "7"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.URL+"/user.v1.UserService/GetUser", strings.NewReader("AAAAAAA="))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/grpc-web-text+proto")
		setToken(req, token)
		resp, err := servertest.HTTP1(t).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.Header.Get("Grpc-Status") != want || resp.Header.Get("Content-Type") != "application/grpc-web-text+proto" {
			t.Errorf("with %q: %s, %v", token, resp.Status, resp.Header)
		}
	}
}

// Probes need no credentials, and everything else does, also what is not there.
func TestWhatElseNeedsCredentials(t *testing.T) {
	t.Parallel()
	g := startGuarded(t, nil, tokenLine("one", "users.list"), tokenLine("ops", "admin"))
	admin := httptest.NewServer(g.Admin())
	t.Cleanup(admin.Close)
	for url, want := range map[string]map[string]int{
		g.URL + "/livez":       {"": 200, "one": 200, "none": 200},
		g.URL + "/readyz":      {"": 200, "one": 200},
		g.URL + "/nothing":     {"": 401, "none": 401, "one": 404},
		g.URL + "/metrics":     {"": 401, "ops": 404},
		admin.URL + "/livez":   {"": 200},
		admin.URL + "/readyz":  {"": 200},
		admin.URL + "/":        {"": 401, "one": 403, "ops": 404},
		admin.URL + "/metrics": {"": 401, "none": 401, "one": 403, "ops": 200},
		g.URL + "/grpc.health.v1.Health/Check?encoding=json&message=%7B%7D": {"": 405},
	} {
		for token, want := range want {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
			if err != nil {
				t.Fatal(err)
			}
			setToken(req, token)
			resp, err := servertest.HTTP1(t).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("%s with %q: %s, want %d", url, token, resp.Status, want)
			}
			if (resp.Header.Get("Www-Authenticate") == "Bearer") != (want == http.StatusUnauthorized) {
				t.Errorf("%s with %q: WWW-Authenticate is %q", url, token, resp.Header.Get("Www-Authenticate"))
			}
		}
	}
	if status, err := watchHealth(t, g.Server, "user.v1.UserService")(); err != nil || status != serving {
		t.Errorf("health without credentials: %v, %v", status, err)
	}
}

// HAProxy asks without credentials and without a host whether a server is ready.
func TestOptionsNeedNoCredentials(t *testing.T) {
	t.Parallel()
	g := startGuarded(t, nil)
	for _, request := range []string{"OPTIONS / HTTP/1.0\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: www\r\n\r\n"} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(g.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if resp := exchange(t, conn, request); resp.StatusCode != http.StatusOK {
			t.Errorf("%q is answered with %s", request, resp.Status)
		}
	}
}

// Reflection is for those who are known.
func TestReflectionNeedsAPrincipal(t *testing.T) {
	t.Parallel()
	g := startGuarded(t, nil, tokenLine("one", "users.delete"))
	for token, want := range map[string]connect.Code{"": connect.CodeUnauthenticated, "two": connect.CodeUnauthenticated, "one": 0} {
		client := credentials["token"].client(g, servertest.HTTP2, t, token)
		transport := connecthttp.NewTransport(client, g.URL, connecthttp.WithGRPC())
		stream := grpcreflect.NewClient(connect.NewClient(transport)).NewStream(t.Context())
		_, err := stream.ListServices()
		if code := connect.CodeOf(err); (err != nil || want != 0) && code != want {
			t.Errorf("with %q: %v, want %v", token, err, want)
		}
		stream.Close()
	}
}

// A page may ask whether it may call, and may read that it may not.
func TestPagesSeeThatTheyNeedCredentials(t *testing.T) {
	t.Parallel()
	const origin = "https://app.example.com"
	g := startGuarded(t, func(config *server.Config) { config.CORSOrigins = []string{origin} }, tokenLine("one", "users.list"))
	for method, want := range map[string]int{http.MethodOptions: http.StatusNoContent, http.MethodPost: http.StatusUnauthorized} {
		req, err := http.NewRequestWithContext(t.Context(), method, g.URL+"/user.v1.UserService/GetUser", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", origin)
		req.Header.Set("Content-Type", "application/json")
		if method == http.MethodOptions {
			req.Header.Set("Access-Control-Request-Method", http.MethodPost)
			req.Header.Set("Access-Control-Request-Headers", "authorization,content-type")
		}
		resp, err := servertest.HTTP1(t).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want || resp.Header.Get("Access-Control-Allow-Origin") != origin {
			t.Errorf("%s: %s, %v", method, resp.Status, resp.Header)
		}
	}
}

// What the schema says is no secret.
func TestDescriptionNeedsNoCredentials(t *testing.T) {
	t.Parallel()
	g := startGuarded(t, nil, tokenLine("one", "users.list"))
	for path, want := range map[string]int{"/openapi.yaml": http.StatusOK, "/openapi.json": http.StatusOK, "/openapi": http.StatusUnauthorized} {
		resp, err := servertest.HTTP1(t).Get(g.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %s, not %d", path, resp.Status, want)
		}
	}
}

// Neither tokens nor their hashes are anywhere but where they belong.
func TestTokensAreNotShown(t *testing.T) {
	t.Parallel()
	line := strings.Replace(tokenLine("secretly", everyScope), "secretly", "somebody", 1) // Names are no secret.
	g := startGuarded(t, nil, line)
	var group sync.WaitGroup
	for _, over := range allWays {
		for _, token := range []string{"secretly", "secretlier"} {
			group.Go(func() {
				client := g.ClientOf(credentials["token"].client(g, over.http, t, token), over.options...)
				for _, rpc := range over.rpcs() {
					_ = rpc.call(t.Context(), client) // It is the log that is looked at.
				}
			})
		}
	}
	group.Wait()
	shown := g.metrics(t, "secretly")
	if err := g.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	shown += g.log.String()
	hash := strings.TrimPrefix(strings.Fields(line)[1], "sha256:")
	if strings.Contains(shown, "secretl") || strings.Contains(shown, hash) || strings.Contains(strings.ToLower(shown), "bearer") {
		t.Error("log or metrics show a token")
	}
	if !strings.Contains(shown, `userd_auth_refused_total`) && !strings.Contains(shown, "procedure=") {
		t.Errorf("there is nothing to look at: %.1000s", shown)
	}
}

// A proxy may say in :scheme how a request has come to the proxy itself, as Envoy does: without
// TLS. The certificate is that of the connection all the same.
func TestCertificatesOfProxies(t *testing.T) {
	t.Parallel()
	for _, transport := range []server.Transport{server.Engine, server.Std} {
		for _, procedure := range []string{"GetUser", "WatchUsers", "BatchCreateUsers"} {
			t.Run(string(transport)+" "+procedure, func(t *testing.T) {
				t.Parallel()
				g := startCertified(t, func(config *server.Config) { config.HTTP2 = transport }, credentials["certificate"].lines("proxy", everyScope))
				address := strings.TrimPrefix(g.URL, "https://")
				conn, err := tls.Dial("tcp", address, &tls.Config{
					NextProtos: []string{"h2"}, InsecureSkipVerify: true, // Tests make their own certificates.
					Certificates: []tls.Certificate{g.authority.issue(t, certificateOf("proxy"))},
				})
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				raw, _ := newRawConn(t, conn, address)
				raw.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
				raw.call(1, "/user.v1.UserService/"+procedure)
				raw.must(raw.framer.WriteData(1, true, envelope(t, &userv1.GetUserRequest{UserId: someID}))) // Or a cursor, or an email address.
				answer := awaitFrame(raw, func(frame *http2.MetaHeadersFrame) bool { return fieldOf(frame, "grpc-status") != "" })
				if status := fieldOf(answer, "grpc-status"); status == "7" || status == "16" {
					t.Errorf("status %s: %s", status, fieldOf(answer, "grpc-message"))
				}
			})
		}
	}
}
