//go:build interop

package interop

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect/v2/connecthttp"

	"github.com/example/userd/cmd/userd/interop/proxytest"
)

var (
	address  = flag.String("address", os.Getenv("USERD_INTEROP_ADDRESS"), "URL of a running userd or of a proxy before it; its users grow. Default: userd is started")
	caFile   = flag.String("ca", "", "PEM file of the certificate that -address has")
	idleTime = flag.Duration("idle", 125*time.Second, "how long -address is left alone, longer than its idle timeout")
	full     = flag.Bool("full", false, "300,000 messages for every stream of every client, in each way, on both transports")
)

// streamed is how many messages a stream is to carry.
const streamed = 300_000

// scenarioTime bounds one scenario.
const scenarioTime = 5 * time.Minute

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
	// rows is how many rows it imports and updates in a test that is not full.
	rows int
	// browser clients have no client streams and no say in headers or compression.
	browser bool
	// clear clients speak in the clear only: Debian's Netty has no ALPN.
	clear bool
}

var makers = []maker{
	{name: "grpc-go", start: newGRPCGo, rows: streamed},
	{name: "connect-go over Connect", start: newConnectGo(), rows: 100_000},
	{name: "connect-go over gRPC", start: newConnectGo(connecthttp.WithGRPC()), rows: 20_000},
	{name: "connect-go over gRPC-Web", start: newConnectGo(connecthttp.WithGRPCWeb()), rows: 20_000},
	{name: "gRPC C++", start: newCPP, rows: 100_000},
	{name: "grpc-java", start: newJava, rows: 20_000, clear: true},
	{name: "grpc-js", start: newNode("grpc-js"), rows: 20_000},
	{name: "connect-node over gRPC", start: newNode("grpc"), rows: 5_000},
	{name: "connect-node over gRPC-Web", start: newNode("grpc-web"), rows: 5_000},
	{name: "connect-node over Connect", start: newNode("connect"), rows: 5_000},
	{name: "grpcio", start: newPython, rows: 5_000},
	{name: "Ruby's grpc", start: newRuby, rows: 5_000},
	{name: "connect-web over gRPC-Web in Chromium", start: newBrowser("grpc-web"), browser: true},
	{name: "connect-web over Connect in Chromium", start: newBrowser("connect"), browser: true},
}

// behindProxies are the clients that go through every proxy in a test that is not
// full: each of the protocols, and each of the stacks for HTTP/2.
var behindProxies = []string{
	"grpc-go", "connect-go over Connect", "gRPC C++", "grpc-js", "connect-node over gRPC-Web",
	"connect-web over gRPC-Web in Chromium",
}

// plan is what the scenarios of one test are given.
type plan struct {
	base string // The run whose users are listed and watched,
	size int    // and their number.
	// metadata are sizes of a header.
	metadata []int
	idle     time.Duration
	rows     int // Unless it is 0, the rows of each client.
}

func TestDirect(t *testing.T) {
	p := plan{size: streamed, metadata: []int{8 << 10, 60 << 10}, idle: 2 * idleTimeout}
	if *address != "" {
		p.idle = *idleTime
		checkAll(t, target{url: withScheme(*address), ca: *caFile}, p, makers)
		return
	}
	checkAll(t, target{url: startUserd(t)}, p, makers)
}

func withScheme(address string) string {
	if strings.Contains(address, "://") {
		return address
	}
	return "http://" + address
}

func TestOverTLS(t *testing.T) {
	notWithAddress(t)
	certificate, key := newCertificate(t)
	p := plan{size: smaller(20_000), metadata: []int{8 << 10, 60 << 10}, idle: 2 * idleTimeout, rows: smaller(2_000)}
	checkAll(t, target{url: startUserd(t, "--tls-cert", certificate, "--tls-key", key), ca: certificate}, p, makers)
}

func TestBehind(t *testing.T) {
	notWithAddress(t)
	for _, proxy := range []string{"nginx", "haproxy", "caddy"} {
		t.Run(proxy, func(t *testing.T) {
			t.Parallel()
			server := strings.TrimPrefix(startUserd(t), "http://")
			running := proxytest.Start(t, proxy, server, server)
			p := plan{size: smaller(20_000), metadata: []int{6 << 10}, idle: 2 * idleTimeout, rows: smaller(2_000)}
			through := slices.DeleteFunc(slices.Clone(makers), func(m maker) bool {
				return !*full && !slices.Contains(behindProxies, m.name)
			})
			checkAll(t, target{url: running.URL, ca: running.CA}, p, through)
		})
	}
}

// smaller is a number of messages, unless the test is full.
func smaller(count int) int {
	if *full {
		return streamed
	}
	return count
}

// notWithAddress ends a test that has servers of its own.
func notWithAddress(t *testing.T) {
	if *address != "" {
		t.Skip("-address has no such server")
	}
}

// checkAll fills a server and lets clients play all scenarios with it.
func checkAll(t *testing.T, target target, p plan, makers []maker) {
	p.base = fmt.Sprintf("r%08x", rand.Uint32())
	filler := newGRPCGo(t, target)
	if said, want := filler.play(t.Context(), "import", p.base, p.size), fmt.Sprintf("%d stored", p.size); said != want {
		t.Fatalf("import: %s, want %s", said, want)
	}
	for i, m := range makers {
		if m.clear && target.ca != "" {
			continue
		}
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			check(t, m.start(t, target), m, p, fmt.Sprintf("%s%c", p.base, 'a'+i))
		})
	}
}

// check lets one client play all scenarios.
func check(t *testing.T, c client, m maker, p plan, run string) {
	expect := func(scenario, run string, count int, want string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), scenarioTime)
		defer cancel()
		began := time.Now()
		if said := c.play(ctx, scenario, run, count); said != want {
			t.Errorf("%s %d: %s, want %s", scenario, count, said, want)
		}
		t.Logf("%s %d: %v", scenario, count, time.Since(began).Round(time.Millisecond))
	}
	expect("unary", run, 0, "created 1 Ada ☕ a,b; got 1; updated 2 Countess a; deleted 3; gone")
	expect("errors", run, 0, "3 INVALID_FIELD; 6 EMAIL_TAKEN; 5 USER_NOT_FOUND; 3 INVALID_PAGE_TOKEN")
	expect("deadline", run, 0, "4; gone")
	expect("cancel", run, 0, "1; gone")
	expect("together", run, 500, "500 gone")
	expect("idle", run, int(p.idle.Seconds()), "gone; gone")
	expect("list", p.base, p.size, fmt.Sprintf("%d users", p.size))
	expect("watch", p.base, p.size, fmt.Sprintf("%d changes", p.size))
	expect("keepalive", run, 2, "2 messages")
	if m.browser {
		return
	}
	expect("gzip", run, 0, "created 200; got 200")
	for _, size := range p.metadata {
		expect("metadata", run, size, "gone")
	}
	rows := smaller(cmp.Or(p.rows, m.rows))
	expect("import", run, rows, fmt.Sprintf("%d stored", rows))
	expect("updates", run, rows, fmt.Sprintf("%d applied", rows))
}

// idleTimeout is that of the servers that the tests start.
const idleTimeout = 2 * time.Second

// workDir is for what is built.
var workDir string

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "interop")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	workDir = dir
	if *address == "" {
		if err := command("go", "build", "-o", filepath.Join(dir, "userd"), ".."); err != nil {
			return 0, err
		}
	}
	return m.Run(), nil
}

var serviceURL = regexp.MustCompile(`https?://\S+`)

// startUserd runs userd on an empty database for the time of the test and returns
// its URL. At the end userd has to drain and exit with 0.
func startUserd(t *testing.T, flags ...string) string {
	t.Helper()
	return startUserdAt(t, "127.0.0.1:0", filepath.Join(t.TempDir(), "userd.db"), flags...).url
}

// userd is a userd that is running.
type userd struct {
	url  string
	cmd  *exec.Cmd
	done chan error // Has the end of it.
}

func startUserdAt(t *testing.T, listen, database string, flags ...string) *userd {
	t.Helper()
	cmd := exec.Command(filepath.Join(workDir, "userd"), append([]string{
		"serve", "--listen", listen, "--admin-listen", "127.0.0.1:0", "--cors-origin", "*",
		"--idle-timeout", idleTimeout.String(), "--database", "sqlite:" + database,
	}, flags...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	u := &userd{cmd: cmd, done: make(chan error, 1)}
	output := bufio.NewReader(stdout)
	for u.url == "" && err == nil {
		var line string
		line, err = output.ReadString('\n')
		u.url = serviceURL.FindString(line)
	}
	if err != nil {
		t.Fatal(errors.Join(err, cmd.Wait()))
	}
	go func() {
		_, _ = io.Copy(io.Discard, output)
		u.done <- cmd.Wait()
	}()
	t.Cleanup(func() { u.stop(t) })
	return u
}

// stop drains userd. A second time it does nothing.
func (u *userd) stop(t *testing.T) {
	t.Helper()
	if u.cmd == nil {
		return
	}
	_ = u.cmd.Process.Signal(syscall.SIGTERM)
	if err := <-u.done; err != nil {
		t.Error(err)
	}
	u.cmd = nil
}

// newCertificate puts a certificate for 127.0.0.1 into files.
func newCertificate(t *testing.T) (certificate, pair string) {
	t.Helper()
	dir := t.TempDir()
	certificate, pair = filepath.Join(dir, "ca.pem"), filepath.Join(dir, "pair.pem")
	proxytest.WriteCertificate(t, pair, certificate)
	return certificate, pair
}
