//go:build interop

package interop

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2/connecthttp"

	"github.com/example/userd/cmd/userd/userdtest"
)

var (
	address  = flag.String("address", os.Getenv("USERD_INTEROP_ADDRESS"), "URL of a running userd or of a proxy before it; its users grow. Default: userd is started")
	caFile   = flag.String("ca", "", "PEM file of the certificate that -address has")
	idleTime = flag.Duration("idle", 125*time.Second, "how long -address and proxies are left alone, longer than their idle timeouts")
	messages = flag.Int("messages", 300_000, "how many messages every stream carries")
)

// idleTimeout is that of the servers that clients reach directly: longer than a loaded
// machine lets a client wait between two calls, since not every client repeats one that
// meets the end of its connection (connect-node).
const idleTimeout = 20 * time.Second

// scenarioTime bounds one scenario.
const scenarioTime = 20 * time.Minute

// target is where clients go.
type target struct {
	url string
	ca  string // PEM file, "" for a server in the clear.
}

func (t target) host() string { return t.url[strings.Index(t.url, "://")+len("://"):] }

// caArgument is the ca as programs take it.
func (t target) caArgument() string { return cmp.Or(t.ca, "-") }

// client plays scenarios; doc.go has them.
type client interface {
	play(ctx context.Context, scenario, run string, count int) string
}

// maker is a client to be started.
type maker struct {
	name  string
	start func(t *testing.T, target target) client
	// web clients speak Connect or gRPC-Web, which proxies may take to servers over
	// HTTP/1.1.
	web bool
	// browser clients have no client streams and no say in headers or compression.
	browser bool
	// refused is the scenario of what it can send that the server refuses before it is
	// a call, and the code.
	refused, code string
}

var makers = []maker{
	{name: "grpc-go", start: newGRPCGo},
	{name: "connect-go over Connect", start: newConnectGo(), web: true},
	{name: "connect-go over gRPC", start: newConnectGo(connecthttp.WithGRPC())},
	{name: "connect-go over gRPC-Web", start: newConnectGo(connecthttp.WithGRPCWeb()), web: true},
	{name: "gRPC C++", start: newCPP},
	{name: "grpc-java", start: newJava},
	{name: "grpc-js", start: newNode("grpc-js"), refused: "timeout", code: "3 MALFORMED_REQUEST"},
	{name: "connect-node over gRPC", start: newNode("grpc")},
	{name: "connect-node over gRPC-Web", start: newNode("grpc-web"), web: true},
	{name: "connect-node over Connect", start: newNode("connect"), web: true},
	{name: "grpcio", start: newPython, refused: "encoding", code: "12"},
	{name: "Ruby's grpc", start: newRuby},
	{name: "connect-web over gRPC-Web in Chromium", start: newBrowser("grpc-web"), web: true, browser: true},
	{name: "connect-web over Connect in Chromium", start: newBrowser("connect"), web: true, browser: true},
}

// plan is what the scenarios of one test are given.
type plan struct {
	target   target
	messages int   // Of each stream.
	metadata []int // Sizes of a header.
	idle     time.Duration
	// http1 says that web clients are taken to the server over HTTP/1.1.
	http1 bool
	// ahead is how many updates may wait for their answers, and so how many a stream has, or 0.
	ahead int

	base string // The run whose users are listed and watched.
}

func TestDirect(t *testing.T) {
	p := plan{messages: *messages, metadata: []int{8 << 10, 60 << 10}}
	if *address != "" {
		p.target, p.idle = target{url: withScheme(*address), ca: *caFile}, *idleTime
		p.run(t)
		return
	}
	p.idle = idleTimeout + 4*time.Second
	transports := []string{"engine", "std"}
	if only := os.Getenv("USERD_HTTP2"); only != "" {
		transports = []string{only}
	}
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			direct := p
			direct.target = target{url: startUserd(t, "--http2", transport).URL}
			direct.run(t)
		})
	}
}

func startUserd(t *testing.T, flags ...string) *userdtest.Userd {
	t.Helper()
	return userdtest.Start(t, append([]string{"--cors-origin", "*", "--idle-timeout", idleTimeout.String()}, flags...)...)
}

func withScheme(address string) string {
	if strings.Contains(address, "://") {
		return address
	}
	return "http://" + address
}

func TestOverTLS(t *testing.T) {
	notWithAddress(t)
	pair, ca := userdtest.Certificate(t)
	server := startUserd(t, "--tls-cert", pair, "--tls-key", pair)
	p := plan{
		target:   target{url: server.URL, ca: ca},
		messages: *messages, metadata: []int{8 << 10, 60 << 10}, idle: idleTimeout + 4*time.Second,
	}
	p.run(t)
}

// notWithAddress ends a test that has servers of its own.
func notWithAddress(t *testing.T) {
	if *address != "" {
		t.Skip("-address has no such server")
	}
}

// run fills the server and lets all clients play all scenarios with it.
func (p plan) run(t *testing.T) {
	p.base = fmt.Sprintf("r%08x", rand.Uint32())
	filler := newGRPCGo(t, p.target)
	if said, want := filler.play(t.Context(), "import", p.base, p.messages), fmt.Sprintf("%d stored", p.messages); said != want {
		t.Fatalf("import: %s, want %s", said, want)
	}
	for i, m := range makers {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			p.check(t, m, fmt.Sprintf("%s%c", p.base, 'a'+i))
		})
	}
}

// check lets one client play all scenarios.
func (p plan) check(t *testing.T, m maker, run string) {
	c := m.start(t, p.target)
	expect := func(scenario, run string, count int, want string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), scenarioTime)
		defer cancel()
		began := time.Now()
		said := c.play(ctx, scenario, run, count)
		if matched, err := path.Match(want, said); err != nil || !matched {
			t.Errorf("%s %d: %s, want %s", scenario, count, said, want)
		}
		t.Logf("%s %d: %v", scenario, count, time.Since(began).Round(time.Millisecond))
	}
	expect("unary", run, 0, "created 1 Ada ☕ a,b; got 1; updated 2 Countess a; deleted 3; gone")
	expect("errors", run, 0, "3 INVALID_FIELD; 6 EMAIL_TAKEN; 5 USER_NOT_FOUND; 3 INVALID_PAGE_TOKEN")
	if m.refused != "" {
		expect(m.refused, run, 0, m.code+"; gone")
	}
	expect("deadline", run, 0, "4; gone")
	expect("cancel", run, 0, "1; gone")
	expect("together", run, 500, "500 gone")
	expect("idle", run, int(p.idle.Seconds()), "gone; gone")
	expect("list", p.base, p.messages, fmt.Sprintf("%d users", p.messages))
	expect("watch", p.base, p.messages, fmt.Sprintf("%d changes", p.messages))
	expect("keepalive", run, 2, "2 messages")
	if m.browser {
		return
	}
	expect("gzip", run, 0, "created 200; got 200")
	for _, size := range p.metadata {
		expect("metadata", run, size, "gone")
	}
	expect("import", run, p.messages, fmt.Sprintf("%d stored", p.messages))
	if p.http1 && m.web {
		expect("updates", run, p.messages, "failed: *505*") // HTTP/1.1 has no bidi streams.
		return
	}
	perStream := cmp.Or(p.ahead, p.messages)
	for sent := 0; sent < p.messages && !t.Failed(); sent += perStream {
		updates := min(perStream, p.messages-sent)
		expect("updates", run, updates, fmt.Sprintf("%d applied", updates))
	}
}

func TestMain(m *testing.M) { userdtest.Main(m) }
