package cachetest

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRedis(t *testing.T) {
	t.Parallel()
	r := Start(t)
	if r.Major() < 7 {
		t.Errorf("Redis %d, want 7 or newer", r.Major())
	}
	r.Do("SET", "a", "1")
	r.Save()
	r.Kill()
	r.Up()
	if got := text(r, "GET", "a"); got != "1" {
		t.Errorf("after a restart from the RDB file: %q, want 1", got)
	}
	r.RestartEmpty()
	if got := text(r, "GET", "a"); got != "" {
		t.Errorf("after an empty restart: %q, want nothing", got)
	}
	r.Freeze()
	r.Thaw()
	r.Flush()
	r.Set("maxmemory", "10mb")
}

func TestProxy(t *testing.T) {
	t.Parallel()
	r := Start(t)
	p := StartProxy(t, r)
	behind := &Redis{Instance: &Instance{network: "tcp", address: p.listener.Addr().String()}, t: t}
	if got := text(behind, "ECHO", "hello"); got != "hello" {
		t.Errorf("through the proxy: %q, want hello", got)
	}
	p.Cut()
}

func TestSentinel(t *testing.T) {
	t.Parallel()
	for name, secure := range map[string]*Security{"open": nil, "secure": NewSecurity(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := StartSentinel(t, secure)
			s.Primary.Kill()
			s.AwaitFailover()
		})
	}
}

func TestCluster(t *testing.T) {
	t.Parallel()
	for name, secure := range map[string]*Security{"open": nil, "secure": NewSecurity(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := StartCluster(t, secure)
			for _, node := range c.Nodes {
				if got := text(node, "PING"); got != "PONG" {
					t.Errorf("node answers %q, want PONG", got)
				}
			}
		})
	}
}
