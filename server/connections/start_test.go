package connections

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// begin is what a connection may begin with.
const (
	beginV1      = "PROXY TCP4 192.0.2.1 192.0.2.2 51034 8080\r\nGET / HTTP/1.1\r\n"
	beginV2      = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"
	beginTLS     = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
	beginHTTP1   = "GET /livez HTTP/1.1\r\nHost: test\r\n\r\n"
	beginPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
)

func TestStartOf(t *testing.T) {
	t.Parallel()
	const nothing = start(-1)
	for _, test := range []struct {
		begin     string
		plain, of start // Of a port with TLS.
	}{
		{beginV1, proxyV1, proxyV1},
		{"PROXY UNKNOWN\r\n", proxyV1, proxyV1},
		{beginV2, proxyV2, proxyV2},
		{beginTLS, tlsToPlain, nothing},
		{beginHTTP1, nothing, plainToTLS},
		{beginPreface, nothing, plainToTLS},
		{"PROXY / HTTP/1.1\r\n", nothing, plainToTLS}, // A method of this name.
		{"\r\n\r\nGET / HTTP/1.1\r\n", nothing, nothing},
		{"", nothing, nothing},
		{"\x16", nothing, nothing},
		{"hello", nothing, nothing},
	} {
		for hasTLS, want := range map[bool]start{false: test.plain, true: test.of} {
			got, wrong := startOf([]byte(test.begin), hasTLS)
			if !wrong {
				got = nothing
			}
			if got != want {
				t.Errorf("%q to a port with TLS %t: %d, want %d", test.begin, hasTLS, got, want)
			}
		}
	}
}

// What does not belong to the port is said once for many connections, and again a minute later.
func TestWrongStartsAreTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		c := New(Config{Most: 10, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		connect := func(begin string) {
			t.Helper()
			peer, end := net.Pipe()
			conn, err := c.Listen(pipe{conn: end}).Accept()
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				_, _ = io.WriteString(peer, begin)
				_ = peer.Close()
			}()
			if got, err := io.ReadAll(conn); err != nil || string(got) != begin {
				t.Errorf("%q is read as %q, %v", begin, got, err)
			}
			_ = conn.Close()
		}
		lines := func(text string) int { return strings.Count(log.String(), text) }
		for range 20 {
			connect(beginV2)
			connect(beginTLS)
			connect(beginHTTP1)
			connect("")
			time.Sleep(time.Second)
		}
		if lines("PROXY protocol, version 2") != 1 || lines("cause=TLS") != 1 || lines("level=WARN") != 2 || !strings.Contains(log.String(), "send-proxy") {
			t.Errorf("the log has:\n%s", log.String())
		}
		time.Sleep(startLogInterval)
		if connect(beginV2); lines("PROXY protocol, version 2") != 2 {
			t.Errorf("a minute later the log has:\n%s", log.String())
		}
	})
}
