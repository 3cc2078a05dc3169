package server_test

import (
	"io"
	"net"
	"strings"
	"testing"

	"github.com/example/userd/server"
	"github.com/example/userd/server/servertest"
	"github.com/example/userd/store/storetest/transcript"
)

// Whoever has a proxy or a client speak something else to the port finds a line in the log that
// says what has come and what to change.
func TestWrongStartsAreTold(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		begin, cause string
		tls          bool
	}{
		"PROXY protocol, version 1":          {"PROXY TCP4 192.0.2.1 192.0.2.2 51034 8080\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "PROXY protocol, version 1", false},
		"PROXY protocol, version 1, and TLS": {"PROXY TCP4 192.0.2.1 192.0.2.2 51034 8080\r\n\x16\x03\x01\x02\x00\x01\x00\x01\xfc", "PROXY protocol, version 1", true},
		"PROXY protocol, version 2":          {"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\xc7\x5a\x1f\x90", "PROXY protocol, version 2", false},
		"PROXY protocol, version 2, and TLS": {"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\xc7\x5a\x1f\x90", "PROXY protocol, version 2", true},
		"TLS":                                {"\x16\x03\x01\x00\x05\x01\x00\x00\x01\xfc\r\n\r\n", "TLS", false},
		"HTTP/1.1 without TLS":               {"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n", "HTTP without TLS", true},
		"HTTP/2 without TLS":                 {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP without TLS", true},
	} {
		for _, transport := range []server.Transport{server.Engine, server.Std} {
			t.Run(name+" "+string(transport), func(t *testing.T) {
				t.Parallel()
				logged := new(transcript.Log)
				running := servertest.Start(t, func(config *server.Config) {
					config.HTTP2, config.Logger = transport, logged.Logger()
					if test.tls {
						withTLS(config)
					}
				})
				_, address, _ := strings.Cut(running.URL, "://")
				conn, err := net.Dial("tcp", address)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				if _, err := io.WriteString(conn, test.begin); err != nil {
					t.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, conn) // Until it is refused.
				if log := logged.String(); !strings.Contains(log, `"cause":"`+test.cause+`"`) && !strings.Contains(log, `cause="`+test.cause+`"`) && !strings.Contains(log, "cause="+test.cause+" ") {
					t.Errorf("the log has: %s", log)
				}
			})
		}
	}
}
