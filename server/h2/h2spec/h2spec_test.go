// Package h2spec runs the conformance suite of that name against the engine. It is a
// module of its own, so that the suite is no dependency of the service.
package h2spec

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/summerwind/h2spec/config"
	"github.com/summerwind/h2spec/generic"
	"github.com/summerwind/h2spec/hpack"
	"github.com/summerwind/h2spec/http2"
	"github.com/summerwind/h2spec/spec"

	"github.com/example/userd/server/h2"
)

// cases is how many there are in version 2.2.1.
const cases = 145

func TestEngine(t *testing.T) {
	for _, secure := range []bool{false, true} {
		addr := serve(t, secure).(*net.TCPAddr)
		target := &config.Config{
			Host: addr.IP.String(), Port: addr.Port, Path: "/", Timeout: 5 * time.Second,
			MaxHeaderLen: 4000, TLS: secure, Insecure: true,
		}
		passed := 0
		for _, group := range []*spec.TestGroup{generic.Spec(), hpack.Spec(), http2.Spec()} {
			group.Test(target)
			passed += group.PassedCount
			if group.FailedCount+group.SkippedCount > 0 {
				t.Errorf("%s, TLS %v: %d failed and %d skipped", group.Name, secure, group.FailedCount, group.SkippedCount)
			}
		}
		if passed != cases {
			t.Errorf("TLS %v: %d of %d cases passed", secure, passed, cases)
		}
	}
}

// serve serves a handler until the test ends.
func serve(t *testing.T, secure bool) net.Addr {
	engine := h2.New(h2.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "Hello, h2spec!")
	})})
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	if secure {
		server.EnableHTTP2 = true
		server.Config.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){"h2": engine.TLSNextProto}
		server.StartTLS()
	} else {
		server.Listener = engine.Listener(server.Listener)
		server.Start()
	}
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
		server.Close()
	})
	return server.Listener.Addr()
}
