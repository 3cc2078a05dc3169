package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/example/userd/cmd/userbench/lab"
	"github.com/example/userd/cmd/userbench/load"
	"github.com/example/userd/cmd/userbench/report"
)

var cacheScenario = scenario{
	name:  "cache",
	title: "Before and after the cache",
	text: "PostgreSQL, users chosen with Zipf(1.0). No cache: --cache-max-entries 0; with it, the near cache has its default size, and Redis all others. " +
		"Latencies are of GetUser at equal offered loads, 50, 70, 90 and 200 % of what the server without a cache carries in a closed loop, counted from when a call was to be sent. " +
		"The last table of them has in how many rounds, each of a slice of both servers, the p99 was lower, and lower by 82 %. " +
		"At 200 % a server that falls behind is late by up to half of a slice, so that ratio depends on the length of the slices. Ratios are to the server without a cache. " +
		"Calls avoided are counted in another run with 5 % UpdateUser, on caches that hold every user that fits, by the server's own metrics.",
	run: runCache,
}

// noCacheFlags turn the cache off.
var noCacheFlags = []string{"--cache-max-entries", "0"}

func runCache(ctx context.Context, b *bench, section *report.Section) error {
	redis, err := b.fleet.redisServer()
	if err != nil {
		return err
	}
	none, err := b.fleet.userdOnPostgres(ctx, noCacheFlags...)
	if err != nil {
		return err
	}
	near, err := b.fleet.userdOnPostgres(ctx, "--redis", redis.URL())
	if err != nil {
		return err
	}
	with, err := b.enter("cache/near", "near cache + Redis", near, b.reads())
	if err != nil {
		return err
	}
	without, err := b.enter("cache/none", "no cache", none, b.reads())
	if err != nil {
		return err
	}
	if err := b.fill(near); err != nil {
		return err
	}
	if err := b.show(ctx, section, "closed loop", b.slice, b.rounds, []*contestant{with, without}); err != nil {
		return err
	}
	if err := b.equalLoads(ctx, section, with, without); err != nil {
		return err
	}
	return b.countCalls(ctx, section, near)
}

// reads is the load of latencies.
func (b *bench) reads() load.Target {
	return load.Target{
		Wire: load.Wire{Protocol: load.GRPC, Codec: load.Proto},
		Read: load.GetUser(b.small, load.Proto), Keys: load.NewZipf(b.small.Len()),
	}
}

// fill reads every user once, the most popular last.
func (b *bench) fill(server *lab.Server) error {
	const most = 100 // Users in one call.
	session, err := load.DialSession(server.Address, 0)
	if err != nil {
		return err
	}
	defer session.Close()
	op := load.BatchGetUsers(b.small, most)
	for from := b.small.Len() - most; from >= 0; from -= most {
		if err := session.Unary(op, from); err != nil {
			return err
		}
	}
	return nil
}

// muchLower is the part of a p99 without the cache that one with it is to be at high loads.
const muchLower = 0.18

// equalLoads offers both servers the same loads and compares the latencies.
func (b *bench) equalLoads(ctx context.Context, section *report.Section, contestants ...*contestant) error {
	rounds := report.Table{Columns: []string{"calls/s offered", "rounds", "p99 is lower", "p99 is 82 % lower"}}
	carried := report.NewFigure("/s", contestants[1].rate...).Median
	for _, l := range []struct {
		key, name string
		rate      float64
	}{
		{"50", "50 % = ", 0.5 * carried},
		{"70", "70 % = ", 0.7 * carried},
		{"90", "90 % = ", 0.9 * carried},
		{"200", "200 % = ", 2 * carried},
		{"12000", "", 12_000},
	} {
		var open []*contestant
		for _, c := range contestants {
			open = append(open, c.at(l.rate, c.key+"/"+l.key, c.name))
		}
		title := l.name + report.Number(l.rate)
		if err := b.show(ctx, section, title+" calls/s offered", b.openSlice, b.equalRounds, open); err != nil {
			return err
		}
		lower, much := lowerIn(open[0].p99, open[1].p99, 1), lowerIn(open[0].p99, open[1].p99, muchLower)
		rounds.Add(title, fmt.Sprint(b.equalRounds), fmt.Sprint(lower), fmt.Sprint(much))
		b.record("cache/rounds/"+l.key, "", float64(much))
	}
	section.Tables = append(section.Tables, rounds)
	return nil
}

// lowerIn is in how many rounds a figure was at most a part of another one.
func lowerIn(figures, others []float64, part float64) (rounds int) {
	for i, figure := range figures {
		if figure <= part*others[i] {
			rounds++
		}
	}
	return rounds
}

// countCalls runs a load with writes on the server with a cache, and counts what its
// reads have taken.
func (b *bench) countCalls(ctx context.Context, section *report.Section, server *lab.Server) error {
	target := b.reads()
	target.Write, target.Share = load.UpdateUser(b.small), 0.05
	c, err := b.enter("", "5 % writes", server, target)
	if err != nil {
		return err
	}
	started, err := server.Metrics(ctx)
	if err != nil {
		return err
	}
	if _, err := c.load(3 * b.openSlice); err != nil {
		return err
	}
	ended, err := server.Metrics(ctx)
	if err != nil {
		return err
	}
	count := func(name, label string) float64 { return ended.Sum(name, label) - started.Sum(name, label) }
	reads := count("rpc_server_call_duration_seconds", "user.v1.UserService/GetUser")
	if reads == 0 {
		return errors.New("the server has counted no read")
	}
	stored := count("userd_cache_store_reads_total", "")
	asked := count("userd_cache_hits_total", "redis") + count("userd_cache_misses_total", "")
	table := report.Table{Columns: []string{"5 % writes", "reads", "calls to the store avoided", "reads without a Redis round trip"}}
	table.Add("near cache + Redis", fmt.Sprint(reads),
		b.record("cache/avoided", "%", 100*max(0, 1-stored/reads)).String(), b.record("cache/redis avoided", "%", 100*(1-asked/reads)).String())
	section.Tables = append(section.Tables, table)
	return nil
}
