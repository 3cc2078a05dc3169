package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/example/userd/cmd/userbench/lab"
	"github.com/example/userd/cmd/userbench/load"
	"github.com/example/userd/cmd/userbench/report"
)

// nearEntries is the size of the near cache: userd's default.
const nearEntries = 10_000

var cacheScenario = scenario{
	name:  "cache",
	title: "Before and after the cache",
	text: "Users chosen with Zipf(1.0). No cache: --cache-max-entries 0. What comes from Redis passes through the near cache, so \"Redis only\" is a near cache as small as the number of calls at a time. " +
		"Latencies are of GetUser at equal offered loads, 50, 70, 90 and 200 % of what the server without a cache carries in a closed loop, counted from when a call was to be sent. " +
		"At 200 % a server that falls behind is late by up to half of a slice, so that ratio depends on the length of the slices. " +
		"Hits and calls avoided are counted in another run with 5 % UpdateUser, on caches that hold every user that fits: the server tells its hits and its reads of the store; PostgreSQL's transactions and Redis's commands, those within scripts too, are their own counts, with all that the server does in the background.",
	run: runCache,
}

// setup is a server with or without a cache.
type setup struct {
	key, name string
	noCache   bool
	flags     []string
	server    *lab.Server
	database  string     // In PostgreSQL; "" for SQLite.
	redis     *lab.Redis // Nil for none.
}

func runCache(ctx context.Context, b *bench, section *report.Section) error {
	b.record("cache/best", "%", 100) // Redis holds every user.
	for _, part := range []struct {
		key, name string
		start     func(context.Context, *bench) ([]setup, error)
	}{
		{"cache/postgres", "PostgreSQL", postgresSetups},
		{"cache/sqlite", "SQLite", sqliteSetups},
	} {
		setups, err := part.start(ctx, b)
		if err == nil {
			err = b.compareSetups(ctx, section, part.key, part.name, setups)
		}
		if err == nil {
			err = b.countCalls(ctx, section, part.key, part.name, setups)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
		b.fleet.stop()
	}
	return nil
}

// noCacheFlags turn the cache off.
var noCacheFlags = []string{"--cache-max-entries", "0"}

// postgresSetups are servers on PostgreSQL, each with a database of its own.
func postgresSetups(ctx context.Context, b *bench) ([]setup, error) {
	postgres, err := b.fleet.postgresServer(ctx)
	if err != nil {
		return nil, err
	}
	redis, err := b.fleet.redisServer(ctx)
	if err != nil {
		return nil, err
	}
	small := fmt.Sprint(b.inFlight())
	setups := []setup{
		{key: "none", name: "no cache", noCache: true, flags: noCacheFlags},
		{key: "redis", name: "Redis, near cache of " + small, redis: redis, flags: []string{"--redis", redis.URL(), "--cache-max-entries", small}},
		{key: "near", name: "near cache + Redis", redis: redis, flags: []string{"--redis", redis.URL(), "--cache-max-entries", fmt.Sprint(nearEntries)}},
	}
	return setups, b.startSetups(ctx, postgres, setups)
}

// inFlight is the number of calls at a time.
func (b *bench) inFlight() int { return b.connections * b.streams }

// startSetups starts a server for each setup, on a database of its own.
func (b *bench) startSetups(ctx context.Context, postgres *lab.Postgres, setups []setup) error {
	for i := range setups {
		s := &setups[i]
		var err error
		if s.database, err = b.fleet.postgresDatabase(ctx, b.small, b.big); err != nil {
			return err
		}
		if s.server, err = b.fleet.userd(ctx, postgres.URL(s.database), s.flags...); err != nil {
			return err
		}
	}
	return nil
}

// sqliteSetups are servers on SQLite, each with a database of its own.
func sqliteSetups(ctx context.Context, b *bench) ([]setup, error) {
	setups := []setup{
		{key: "none", name: "no cache", noCache: true, flags: noCacheFlags},
		{key: "process", name: "cache in the process"},
	}
	for i := range setups {
		database, err := b.fleet.sqlite(ctx, b.small, b.big)
		if err != nil {
			return nil, err
		}
		if setups[i].server, err = b.fleet.userd(ctx, database, setups[i].flags...); err != nil {
			return nil, err
		}
	}
	return setups, nil
}

// compareSetups measures rates and latencies.
func (b *bench) compareSetups(ctx context.Context, section *report.Section, key, engine string, setups []setup) error {
	var contestants []*contestant
	for _, s := range setups {
		c, err := b.enter(key+"/"+s.key, s.name, s.server, b.reads())
		if err != nil {
			return err
		}
		if err := b.fill(s); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		contestants = append(contestants, c)
	}
	if err := b.race(ctx, b.slice, b.rounds, contestants...); err != nil {
		return err
	}
	b.show(section, chartName(key, "rate"), "GetUser on "+engine+", Zipf(1.0), calls a second on one core", contestants, contestants[0])
	return b.equalLoads(ctx, section, key, engine, contestants)
}

func chartName(key, what string) string { return strings.ReplaceAll(key, "/", "-") + "-" + what }

// reads is the load of latencies.
func (b *bench) reads() load.Target {
	return load.Target{
		Wire: load.Wire{Protocol: load.GRPC, Codec: load.Proto},
		Read: load.GetUser(b.small, load.Proto), Keys: b.zipf,
	}
}

// fill reads every user once, the most popular last.
func (b *bench) fill(s setup) error {
	if s.noCache {
		return nil
	}
	const most = 100 // Users in one call.
	session, err := load.DialSession(s.server.Address, 0)
	if err != nil {
		return err
	}
	defer session.Close()
	op := load.BatchGetUsers(b.small, load.Proto, most)
	for from := b.small.Len() - most; from >= 0; from -= most {
		if err := session.Unary(op, from); err != nil {
			return err
		}
	}
	return nil
}

// equalLoads offers every setup the same loads and compares the latencies.
func (b *bench) equalLoads(ctx context.Context, section *report.Section, key, engine string, contestants []*contestant) error {
	carried := report.NewFigure("/s", contestants[0].rate...).Median
	loads := []struct {
		key, name string
		rate      float64
	}{
		{"50", "50 % = ", 0.5 * carried},
		{"70", "70 % = ", 0.7 * carried},
		{"90", "90 % = ", 0.9 * carried},
		{"200", "200 % = ", 2 * carried},
		{"12000", "", 12_000},
	}
	table := report.Table{Columns: []string{engine + ", offered", "setup", "answered", "p50", "p99", "p99.9", "p99 against no cache", "not sent in time", "refused"}}
	for _, l := range loads {
		var open []*contestant
		for _, c := range contestants {
			o := c.at(l.rate, c.key+"/"+l.key, c.name)
			o.mayRefuse = true
			open = append(open, o)
		}
		if err := b.race(ctx, b.openSlice, b.openRounds, open...); err != nil {
			return err
		}
		chart := &report.Chart{Name: chartName(key, l.key), Title: "GetUser on " + engine + " at " + report.Number(l.rate) + " calls a second", Unit: "ms"}
		for _, c := range open {
			table.Add(latencyRow(l.name+report.Number(l.rate)+"/s", c, open[0])...)
			chart.Lines = append(chart.Lines, c.line())
		}
		section.Charts = append(section.Charts, chart)
	}
	section.Tables = append(section.Tables, table)
	return nil
}

func latencyRow(offered string, c, without *contestant) []string {
	p99 := report.NewFigure("ms", c.p99...)
	change := 100 * (p99.Median/report.NewFigure("ms", without.p99...).Median - 1)
	return []string{
		offered, c.name, report.NewFigure("/s", c.rate...).String(), report.NewFigure("ms", c.p50...).String(),
		p99.WithSpread(), report.NewFigure("ms", c.p999...).String(), fmt.Sprintf("%+.0f %%", change),
		report.Number(100*float64(c.unsent)/float64(c.calls)) + " %", report.Number(100*float64(c.refused)/float64(c.calls)) + " %",
	}
}
