package main

import (
	"context"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/example/userd/cmd/userbench/lab"
	"github.com/example/userd/cmd/userbench/load"
	"github.com/example/userd/cmd/userbench/report"
)

// contestant is one server under one load, and what has been measured of it.
type contestant struct {
	key, name string
	server    *lab.Server
	generator *load.Generator
	offered   float64 // Calls a second; 0: as many as the server can carry.

	rate, p99, cpu       []float64
	serverBusy, loadBusy []float64
	calls, refused       int64
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
	c := &contestant{key: key, name: name, server: server, generator: generator}
	_, err = c.load(b.warm)
	return c, err
}

// at is the contestant under an open load of this many calls a second, which may be
// more than it carries.
func (c *contestant) at(offered float64, key, name string) *contestant {
	return &contestant{key: key, name: name, server: c.server, generator: c.generator, offered: offered}
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
		b.record(c.key+"/rate", "/s", c.rate...)
		b.record(c.key+"/p99", "ms", c.p99...)
		b.record(c.key+"/cpu", "µs", c.cpu...)
	}
	return nil
}

// load runs the load. A wrong answer is an error, and so is a refusal in a closed loop: the
// server can serve as many callers as there are, who wait for their answers.
func (c *contestant) load(duration time.Duration) (r *load.Result, err error) {
	if c.offered == 0 {
		r = c.generator.Closed(duration)
	} else if r, err = c.generator.Open(c.offered, duration); err != nil {
		return nil, err
	}
	if c.offered == 0 && r.Refused > 0 {
		return nil, fmt.Errorf("%s: %d calls were refused", c.name, r.Refused)
	}
	if r.Failed > 0 {
		return nil, fmt.Errorf("%s: %d calls without a right answer: %w", c.name, r.Failed, r.Failure)
	}
	return r, nil
}

// slice runs the load and keeps what it has found.
func (c *contestant) slice(duration time.Duration) error {
	serverBefore, cpuErr := c.server.CPU()
	loadBefore, began := lab.LoadCPU(), time.Now()
	r, err := c.load(duration)
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
	c.p99 = append(c.p99, percentile(r.Latency, 99))
	c.calls, c.refused = c.calls+calls, c.refused+r.Refused
	return nil
}

// percentile is a latency in milliseconds.
func percentile(h *hdrhistogram.Histogram, p float64) float64 {
	return float64(h.ValueAtPercentile(p)) / 1000
}

// standings are a table of contestants, each compared with another.
type standings struct{ report.Table }

func newStandings(what string) *standings {
	return &standings{report.Table{Columns: []string{
		what, "calls/s", "ratio", "p99", "ratio", "server CPU a call", "ratio", "server busy", "load busy", "refused",
	}}}
}

func (s *standings) add(c, base *contestant) {
	row := []string{c.name}
	for _, column := range []struct {
		unit      string
		ours, its []float64
	}{{"/s", c.rate, base.rate}, {"ms", c.p99, base.p99}, {"µs", c.cpu, base.cpu}} {
		ours, its := report.NewFigure(column.unit, column.ours...), report.NewFigure(column.unit, column.its...)
		row = append(row, ours.WithSpread(), report.Number(ours.Median/its.Median))
	}
	s.Add(append(row, report.NewFigure("%", c.serverBusy...).String(), report.NewFigure("%", c.loadBusy...).String(),
		report.Number(100*float64(c.refused)/float64(c.calls))+" %")...)
}
