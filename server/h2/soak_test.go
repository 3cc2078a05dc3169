package h2_test

import (
	"flag"
	"math/rand/v2"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/example/userd/server/h2"
)

var soak = flag.Int("soak", 50_000, "how many requests TestSoak makes")

// soakParts is how often a soak stops for a look at the memory.
const soakParts = 10

// TestSoak makes very many requests on connections that come and go, in good ways and
// bad ones, and checks that nothing of them stays.
func TestSoak(t *testing.T) { // Alone: it measures.
	rpc := testRPC()
	var calls atomic.Int64
	lane := testLane(rpc, func([]byte) bool { return calls.Add(1)%4 != 0 })
	srv := startEngine(t, h2.Config{Handler: testMux(rpc), Direct: lane})
	var first, last uint64
	for part := range soakParts {
		t.Run("part", func(t *testing.T) { soakPart(t, srv, *soak/soakParts) })
		for srv.Stats().ConnectionsOpen.Load() > 0 {
			runtime.Gosched()
		}
		runtime.GC()
		runtime.GC() // What a pool holds survives one.
		var memory runtime.MemStats
		runtime.ReadMemStats(&memory)
		last = memory.HeapAlloc
		if part == 0 {
			first = last
		}
		stats := srv.Stats()
		t.Logf("%d requests on %d connections: %d KiB, %d goroutines", stats.Inline.Load()+stats.Direct.Load()+stats.Handled.Load(),
			stats.Connections.Load(), last>>10, runtime.NumGoroutine())
	}
	if last > first+4<<20 {
		t.Errorf("memory grew from %d to %d KiB", first>>10, last>>10)
	}
	if open := srv.Stats().StreamsOpen.Load(); open != 0 {
		t.Errorf("%d streams are open", open)
	}
	if n := runtime.NumGoroutine(); n > 300 { // 256 of them wait for work.
		t.Errorf("%d goroutines", n)
	}
}

// soakPart makes some requests, on as many connections at a time as a benchmark has.
func soakPart(t *testing.T, srv *server, requests int) {
	t.Helper()
	var left atomic.Int64
	left.Store(int64(requests))
	var all sync.WaitGroup
	for i := range benchConns {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), uint64(requests)))
			for left.Load() > 0 {
				n := 1 + random.IntN(2_000)
				var extra []string
				if random.IntN(4) == 0 {
					extra = []string{"origin", "http://example.com"} // The lane leaves it to the handler.
				}
				g := newGenerator(t, srv.addr, extra...)
				g.conn = stirred{g.conn}
				if err := g.run(n, 1+random.IntN(64)); err != nil {
					stacks := new(strings.Builder)
					_ = pprof.Lookup("goroutine").WriteTo(stacks, 1)
					t.Errorf("%v\n%s", err, stacks)
					return
				}
				g.leave(random.IntN(3))
				left.Add(-int64(n))
			}
		})
	}
	all.Wait()
}

// leave closes the connection: as it should be, with requests under way, or in the
// middle of a frame.
func (g *generator) leave(how int) {
	switch how {
	case 1:
		for range 10 {
			g.append()
		}
	case 2:
		g.append()
		g.out = g.out[:len(g.out)-1]
	}
	_, _ = g.conn.Write(g.out) // The server may be quicker.
	_ = g.conn.Close()
}
