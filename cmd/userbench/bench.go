package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/example/userd/cmd/userbench/lab"
	"github.com/example/userd/cmd/userbench/load"
	"github.com/example/userd/cmd/userbench/population"
	"github.com/example/userd/cmd/userbench/report"
)

// Kinds of users. Each round of an import takes a kind of its own from
// importedKind on.
const (
	smallKind    = 0
	largeKind    = 1
	importedKind = 1000
)

// Sizes of encoded users, in bytes.
const (
	smallUser = 150
	largeUser = 1024
)

// plan says how long everything takes.
type plan struct {
	connections  int
	streams      int // On each connection.
	users        int // In the store.
	large        int // Users of 1 KiB.
	hot          int // Users that fit into every cache.
	slice        time.Duration
	rounds       int
	openSlice    time.Duration
	openRounds   int
	warm         time.Duration
	streamRounds int
	streamed     int // Messages on a stream to the server.
	stored       int // The same where a database keeps them.
	imported     int // Rows of an import beside a database's own tool.
	watchers     int
	watched      int // Updates that they see.
	slow         int // Slow readers.
	starts       int
	settled      time.Duration // After which the memory of a server is looked at.
	// PostgreSQL publishes the counts of a connection that is idle 10 seconds late.
	settleStatistics time.Duration
	storeSlice       time.Duration // Against pgbench, which measures whole seconds.
	propagated       int
	peakRows         int // Of one import.
	peakImports      int
	storeRuns        int // Of the benchmarks of package postgres; 0 for none.
	profiled         time.Duration
}

var (
	fullPlan = plan{
		connections: 8, streams: 16, users: 100_000, large: 2_000, hot: 5_000,
		slice: 250 * time.Millisecond, rounds: 9, openSlice: 600 * time.Millisecond, openRounds: 4, warm: 200 * time.Millisecond,
		streamRounds: 4, streamed: 100_000, stored: 10_000, imported: maxImport, watchers: 1_000, watched: 100, slow: 100,
		starts: 5, settled: time.Second, settleStatistics: 11 * time.Second, storeSlice: 2 * time.Second, propagated: 1_000,
		peakRows: 100_000, peakImports: 10, storeRuns: 2, profiled: 30 * time.Second,
	}
	quickPlan = plan{
		connections: 2, streams: 4, users: 2_000, large: 200, hot: 500,
		slice: 20 * time.Millisecond, rounds: 2, openSlice: 50 * time.Millisecond, openRounds: 2, warm: 20 * time.Millisecond,
		streamRounds: 1, streamed: 2_000, stored: 2_000, imported: 2_000, watchers: 100, watched: 3, slow: 10,
		starts: 1, settled: 50 * time.Millisecond, storeSlice: time.Second, propagated: 20,
		peakRows: 2_000, peakImports: 2, profiled: 4 * time.Second,
	}
)

// bench is one run of the benchmark.
type bench struct {
	plan
	lab    *lab.Lab
	report *report.Report
	log    io.Writer
	fleet  fleet
	small  *population.Users
	big    *population.Users
	zipf   *load.Zipf

	prepared map[preparedKey]rows // Of the present round.

	busyBefore, revision string // When the run began.
}

// unavailable is why something cannot be measured here, through no fault of what
// is measured.
type unavailable string

func (u unavailable) Error() string { return string(u) }

func newBench(ctx context.Context, p plan, log io.Writer) (*bench, error) {
	l, err := lab.New(ctx)
	if err != nil {
		return nil, err
	}
	return &bench{
		plan: p, lab: l, log: log, fleet: fleet{lab: l},
		report: &report.Report{Began: time.Now(), Figures: make(map[string]report.Figure)},
		small:  population.New(smallKind, p.users, smallUser),
		big:    population.New(largeKind, p.large, largeUser),
		zipf:   load.NewZipf(p.users, 1),

		prepared: make(map[preparedKey]rows),

		busyBefore: loadAverage(), revision: revision(ctx, l.Root()),
	}, nil
}

// run runs scenarios. The error says which of them found something wrong; the
// report is complete all the same.
func (b *bench) run(ctx context.Context, scenarios []scenario) error {
	var errs []error
	for _, s := range scenarios {
		section := &report.Section{Title: s.title, Text: s.text}
		b.report.Sections = append(b.report.Sections, section)
		began := time.Now()
		fmt.Fprintf(b.log, "%s …\n", s.name)
		if err := b.runScenario(ctx, s, section); err != nil {
			errs = append(errs, err)
		}
		fmt.Fprintf(b.log, "%s: %s %s\n", s.name, time.Since(began).Round(time.Second/10), section.Failed)
	}
	b.report.Machine = b.machine(ctx)
	b.report.Goals = evaluate(b.report)
	b.report.Took = time.Since(b.report.Began)
	return errors.Join(errs...)
}

// runScenario returns what is wrong with what was measured. That something cannot be
// measured here is only noted.
func (b *bench) runScenario(ctx context.Context, s scenario, section *report.Section) error {
	defer b.fleet.stop()
	err := b.lab.Cores.PinLoad()
	if err == nil {
		err = s.run(ctx, b, section)
	}
	if err == nil {
		return nil
	}
	section.Failed = err.Error()
	if why := unavailable(""); errors.As(err, &why) {
		return nil
	}
	return fmt.Errorf("%s: %w", s.name, err)
}

// record keeps a figure for the goals and for report.json.
func (b *bench) record(key, unit string, samples ...float64) report.Figure {
	f := report.NewFigure(unit, samples...)
	b.report.Figures[key] = f
	return f
}

// results writes the report.
func (b *bench) results(dir string) error {
	if err := b.report.Write(dir); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	fmt.Fprintf(b.log, "results: %s\n", filepath.Join(dir, "report.md"))
	return nil
}

// contestant is one server under one load, and what has been measured of it.
type contestant struct {
	key, name string
	server    *lab.Server
	generator *load.Generator
	offered   float64 // Calls a second; 0: as many as the server can carry.
	mayRefuse bool    // The load is meant to be too much.

	rate, p50, p99, p999, cpu []float64
	serverBusy, loadBusy      []float64
	latency                   *hdrhistogram.Histogram
	calls, unsent, refused    int64
}

// enter makes a contestant, connects to its server and warms it up. The first call
// comes at once: a server may close connections that do not say anything.
func (b *bench) enter(key, name string, server *lab.Server, target load.Target) (*contestant, error) {
	target.Address = server.Address
	if target.Connections == 0 {
		target.Connections, target.Streams = b.connections, b.streams
	}
	generator, err := load.Dial(target)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	b.fleet.closers = append(b.fleet.closers, generator.Close)
	c := &contestant{key: key, name: name, server: server, generator: generator, latency: load.NewHistogram()}
	return c, c.warm(b.warm)
}

// at is the contestant under an open load of this many calls a second.
func (c *contestant) at(offered float64, key, name string) *contestant {
	return &contestant{
		key: key, name: name, server: c.server, generator: c.generator, offered: offered, latency: load.NewHistogram(),
	}
}

// race lets the contestants run in turn, a slice each, for some rounds, so that
// whatever else the machine does meets them all.
func (b *bench) race(ctx context.Context, slice time.Duration, rounds int, contestants ...*contestant) error {
	for range rounds {
		for _, c := range contestants {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := c.slice(slice); err != nil {
				return err
			}
		}
	}
	for _, c := range contestants {
		c.record(b)
	}
	return nil
}

// warm runs the load without keeping what it finds, but for wrong answers.
func (c *contestant) warm(duration time.Duration) error {
	result, err := c.load(duration)
	if err != nil {
		return err
	}
	return c.check(result)
}

func (c *contestant) load(duration time.Duration) (*load.Result, error) {
	if c.offered > 0 {
		return c.generator.Open(c.offered, duration)
	}
	return c.generator.Closed(duration), nil
}

// check refuses a result with wrong answers.
func (c *contestant) check(r *load.Result) error {
	if r.Refused > 0 && !c.mayRefuse {
		return fmt.Errorf("%s: %d calls were refused", c.name, r.Refused)
	}
	if r.Failed > 0 {
		return fmt.Errorf("%s: %d calls without a right answer: %w", c.name, r.Failed, r.Failure)
	}
	return nil
}

func (c *contestant) slice(duration time.Duration) error {
	serverBefore, cpuErr := c.server.CPU()
	loadBefore, began := lab.LoadCPU(), time.Now()
	r, err := c.load(duration)
	if err == nil {
		err = c.check(r)
	}
	if err != nil {
		return err
	}
	took := time.Since(began)
	calls := r.Latency.TotalCount() + r.Refused
	if serverAfter, err := c.server.CPU(); cpuErr == nil && err == nil && calls > 0 {
		used := serverAfter - serverBefore
		c.cpu = append(c.cpu, float64(used.Microseconds())/float64(calls))
		c.serverBusy = append(c.serverBusy, 100*float64(used)/float64(took))
	}
	c.loadBusy = append(c.loadBusy, 100*float64(lab.LoadCPU()-loadBefore)/float64(took))
	c.rate = append(c.rate, r.Rate)
	c.p50 = append(c.p50, percentile(r.Latency, 50))
	c.p99 = append(c.p99, percentile(r.Latency, 99))
	c.p999 = append(c.p999, percentile(r.Latency, 99.9))
	c.calls, c.unsent, c.refused = c.calls+calls, c.unsent+r.Unsent, c.refused+r.Refused
	c.latency.Merge(r.Latency)
	return nil
}

// percentile is a latency in milliseconds.
func percentile(h *hdrhistogram.Histogram, p float64) float64 {
	return float64(h.ValueAtPercentile(p)) / 1000
}

func (c *contestant) record(b *bench) {
	b.record(c.key+"/rate", "/s", c.rate...)
	b.record(c.key+"/p50", "ms", c.p50...)
	b.record(c.key+"/p99", "ms", c.p99...)
	b.record(c.key+"/p99.9", "ms", c.p999...)
	b.record(c.key+"/cpu", "µs", c.cpu...)
	b.record(c.key+"/server busy", "%", c.serverBusy...)
	b.record(c.key+"/load busy", "%", c.loadBusy...)
}

// line is the contestant's line in a chart of latencies.
func (c *contestant) line() report.Line {
	line := report.Line{Name: c.name}
	for _, p := range report.Percentiles {
		line.Values = append(line.Values, percentile(c.latency, p))
	}
	return line
}

// bar is the contestant's bar in a chart of throughput.
func (c *contestant) bar() report.Bar {
	return report.Bar{Name: c.name, Figure: report.NewFigure("/s", c.rate...)}
}

// standings are a table of contestants; the ratios are to the rate of one of them.
func standings(contestants []*contestant, base *contestant) report.Table {
	table := report.Table{Columns: []string{
		"server", "calls/s", "ratio", "p50", "p99", "p99.9", "server CPU a call", "server busy", "load busy",
	}}
	one := report.NewFigure("/s", base.rate...)
	for _, c := range contestants {
		rate := report.NewFigure("/s", c.rate...)
		table.Add(c.name, rate.WithSpread(), report.Number(rate.Median/one.Median),
			report.NewFigure("ms", c.p50...).String(), report.NewFigure("ms", c.p99...).WithSpread(),
			report.NewFigure("ms", c.p999...).String(), report.NewFigure("µs", c.cpu...).String(),
			report.NewFigure("%", c.serverBusy...).String(), report.NewFigure("%", c.loadBusy...).String())
	}
	return table
}

// copyFile copies a database that nobody has open.
func copyFile(to, from string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	return errors.Join(err, target.Close())
}
