//go:build !race

package main

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/example/userd/cache/cachetest"
)

// soak makes the history longer. It then runs at several sites at a time, because
// faults are mostly waiting. With older all servers but one are of an older version at
// first, as while a fleet is upgraded, and each that is killed is replaced by a new one.
var (
	older      = flag.String("older", "", "an older `program` that most servers begin with")
	soakFaults = flag.Int("soak", 0, "how many faults TestHistory goes through; 0 for each once")
	soakReads  = flag.Int64("soak-reads", 10_000_000, "how many reads TestHistory checks at least with -soak")
)

const soakSites = 4

// What else the cache promises.
const (
	longestWait  = 300 * time.Millisecond
	trustedAgain = 3 * time.Second
)

// fleetLoad is the load of one server of TestHistory.
var fleetLoad = cachetest.Load{
	Clients: 8, Users: 200, Pace: 10 * time.Millisecond,
	Updates: 0.02, NoCache: 0.02, Fleeting: 0.004, Many: 0.3, ByEmail: 0.05, ByName: 0.02,
}

// TestHistory lets clients read and write through three servers while everything
// fails that can: each kind of fault in turn, and a server killed between its commit
// and its apply. It checks every answer.
//
// It judges times, and is compiled without the race detector only, which makes
// everything several times slower. What a busy machine adds to a time is measured by
// control reads and taken off: see cachetest.Stalls.
func TestHistory(t *testing.T) {
	if *soakFaults == 0 {
		history(t, fleetLoad, 0, 0, 1_000_000)
		return
	}
	load := fleetLoad // Fewer calls for as many reads: all sites share the machine.
	load.Clients, load.Pace, load.Updates, load.Many = 2, 20*time.Millisecond, 0.04, 0.7
	for i := range soakSites {
		t.Run(fmt.Sprint("site ", i+1), func(t *testing.T) {
			t.Parallel()
			history(t, load, i*3, *soakFaults/soakSites, *soakReads/soakSites)
		})
	}
}

// history goes through so many faults from the first on, 0 for each once, and on
// until there are enough reads.
func history(t *testing.T, load cachetest.Load, first, faults int, reads int64) {
	site := cachetest.NewSite(t)
	f := startFleet(t, load, func() (string, *cachetest.Proxy) {
		proxy := site.Proxy()
		return proxy.URL(), proxy
	})
	kinds := append(site.Faults(), cachetest.Fault{Name: "a server killed between commit and apply", Do: f.killOne})
	if faults == 0 {
		faults = len(kinds)
	}
	for i := range faults {
		f.run(kinds[(first+i)%len(kinds):][:1])
	}
	for f.reads.Load() < reads && t.Context().Err() == nil {
		cachetest.Run(t, time.Second)
	}
	f.judge(site.Primary.URL())
}

// TestSecuredHistories runs shorter histories with a Cluster and with a Sentinel, over
// TLS and with passwords, which must stay out of the logs.
func TestSecuredHistories(t *testing.T) {
	secure := cachetest.NewSecurity(t)
	t.Setenv("SSL_CERT_FILE", secure.CA)
	for name, start := range map[string]func(*testing.T, *cachetest.Security) (url string, faults []cachetest.Fault){
		"Sentinel": func(t *testing.T, secure *cachetest.Security) (string, []cachetest.Fault) {
			s := cachetest.StartSentinel(t, secure)
			return s.URL(), s.Faults()
		},
		"Cluster": func(t *testing.T, secure *cachetest.Security) (string, []cachetest.Fault) {
			c := cachetest.StartCluster(t, secure)
			return c.URL(), c.Faults()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, faults := start(t, secure)
			f := startFleet(t, fleetLoad, func() (string, *cachetest.Proxy) { return url, nil })
			f.run(append(faults, cachetest.Fault{Name: "a server killed", Do: f.killOne}))
			f.judge(url)
			for _, secret := range []string{secure.Password, secure.SentinelPassword, "@example.com"} {
				if strings.Contains(f.logged.String(), secret) {
					t.Errorf("a log says %q", secret)
				}
			}
		})
	}
}

// judge ends the fleet and checks all that its clients saw, how long they waited,
// and what is left in Redis.
func (f *fleet) judge(redis string) {
	t := f.t
	t.Helper()
	ops := f.finish(redis)
	checked := cachetest.Check(ops, staleness)
	t.Logf("%d faults, %d reads, %d of the store, %d searches, %d writes", len(f.healed)-1, checked.Reads, checked.NoCacheReads, checked.Searches, checked.Writes)
	if len(checked.Violations) > 0 {
		t.Errorf("promises broken:\n%s", strings.Join(checked.Violations, "\n"))
	}
	if checked.Failed > 0 {
		t.Errorf("%d calls failed; the servers say:\n%s", checked.Failed, f.causes())
	}
	stalls := cachetest.FindStalls(ops)
	f.judgeWaits(ops, stalls)
	f.judgeTrust(ops, stalls)
	t.Logf("the longest wait was %v, and of control reads %v", checked.Slowest, stalls.Longest())
}

// causes is what the servers' logs have of calls that failed.
func (f *fleet) causes() string {
	var causes []string
	for line := range strings.Lines(f.logged.String()) {
		if strings.Contains(line, `"cause":`) {
			causes = append(causes, line)
		}
	}
	return strings.Join(causes, "")
}

// judgeWaits judges all calls that the cache takes part in, writes as well.
func (f *fleet) judgeWaits(ops []cachetest.Op, stalls cachetest.Stalls) {
	var waits []time.Duration
	const told = 5 // Of those that took too long.
	late := 0
	for _, op := range ops {
		if op.Kind == cachetest.NoCache || op.Kind == cachetest.ByName || op.Server == 0 || op.End == 0 {
			continue
		}
		wait := stalls.Wait(op)
		waits = append(waits, wait)
		if wait <= longestWait {
			continue
		}
		if late++; late <= told {
			f.t.Errorf("%s: %+v took %v, less what stalls excuse %v, want %v at most",
				f.faultAt(op.Start), op, time.Duration(op.End-op.Start), wait, longestWait)
		}
	}
	slices.Sort(waits)
	at := func(share float64) time.Duration { return waits[int(share*float64(len(waits)-1))] }
	f.t.Logf("waits, less what stalls excuse: median %v, 99 %% %v, 99.9 %% %v, 99.99 %% %v, longest %v", at(0.5), at(0.99), at(0.999), at(0.9999), at(1))
}

// faultAt is the fault that was there, or the last, at a time.
func (f *fleet) faultAt(t int64) string {
	for _, h := range f.healed {
		if t <= h.upTo {
			return h.fault
		}
	}
	return "after all faults"
}

func (f *fleet) judgeTrust(ops []cachetest.Op, stalls cachetest.Stalls) {
	slowest, raw := make(map[string]time.Duration), make(map[string]time.Duration)
	for _, h := range f.healed {
		for _, server := range h.servers {
			took, ok := cachetest.Regained(ops, stalls, server, h.at, h.upTo)
			if !ok || took > trustedAgain {
				f.t.Errorf("%s: server %d trusts its cache after %v (%v), want %v", h.fault, server, took, ok, trustedAgain)
			}
			slowest[h.fault] = max(slowest[h.fault], took)
			took, _ = cachetest.Regained(ops, nil, server, h.at, h.upTo)
			raw[h.fault] = max(raw[h.fault], took)
		}
	}
	for fault, took := range slowest {
		f.t.Logf("trusted again after %v at most, with stalls %v: %s", took.Round(time.Millisecond), raw[fault].Round(time.Millisecond), fault)
	}
}
