package main

import (
	"context"

	"github.com/example/userd/cmd/userbench/lab"
	"github.com/example/userd/cmd/userbench/load"
	"github.com/example/userd/cmd/userbench/report"
)

var unaryScenario = scenario{
	name:  "unary",
	title: "GetUser beside its peers",
	text: "GetUser of users of 150 B that every cache holds, uniformly chosen; 8 connections × 16 streams over gRPC, 128 connections over HTTP/1.1. " +
		"userd is as it is shipped, on SQLite with its in-process cache; the peers answer from a map in memory. " +
		"The server has one core. A closed loop finds what each carries; then each gets half of what userd carries, and the latencies count from when a call was to be sent.",
	run: runUnary,
}

// rival is a server that answers the same calls.
type rival struct {
	key, name string
	server    *lab.Server
	stored    bool // It is userd on SQLite.
}

// rivals starts userd, as it is shipped and with each other way to serve HTTP/2, and
// its peers.
func (b *bench) rivals(ctx context.Context) ([]rival, error) {
	_, others, err := b.fleet.transports(ctx)
	if err != nil {
		return nil, err
	}
	all := []rival{{key: "userd", name: "userd", stored: true}}
	for _, transport := range others {
		all = append(all, rival{key: transport, name: "userd " + http2Flag + "=" + transport, stored: true})
	}
	all = append(all,
		rival{key: "grpc-go", name: "grpc-go, its own transport"},
		rival{key: "net/http", name: "bare net/http handler, bytes made beforehand"},
		rival{key: "connect", name: "Connect on net/http"})
	for i := range all {
		if all[i].server, err = b.startRival(ctx, all[i]); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (b *bench) startRival(ctx context.Context, r rival) (*lab.Server, error) {
	if !r.stored {
		return b.fleet.peer(ctx, r.key, b.small)
	}
	database, err := b.fleet.sqlite(ctx, b.small, b.big)
	if err != nil {
		return nil, err
	}
	if r.key == "userd" {
		return b.fleet.userd(ctx, database)
	}
	return b.fleet.userd(ctx, database, http2Flag, r.key)
}

func runUnary(ctx context.Context, b *bench, section *report.Section) error {
	rivals, err := b.rivals(ctx)
	if err != nil {
		return err
	}
	grpc := load.Target{
		Wire: load.Wire{Protocol: load.GRPC, Codec: load.Proto},
		Read: load.GetUser(b.small, load.Proto), Keys: load.Uniform(b.hot),
	}
	contestants, err := b.enterAll(rivals, "", grpc)
	if err != nil {
		return err
	}
	if err := b.race(ctx, b.slice, b.rounds, contestants...); err != nil {
		return err
	}
	usual, _, err := b.fleet.transports(ctx)
	if err != nil {
		return err
	}
	b.report.Figures["unary/"+usual+"/rate"] = b.report.Figures["unary/userd/rate"]
	b.show(section, "unary-rate", "GetUser over gRPC, calls a second on one core", contestants, contestants[len(contestants)-1])
	if err := b.atHalf(ctx, section, contestants); err != nil {
		return err
	}
	return b.overHTTP1(ctx, section, rivals)
}

// enterAll enters every rival with the same load.
func (b *bench) enterAll(rivals []rival, suffix string, target load.Target) ([]*contestant, error) {
	var contestants []*contestant
	for _, r := range rivals {
		c, err := b.enter("unary/"+r.key+suffix, r.name, r.server, target)
		if err != nil {
			return nil, err
		}
		contestants = append(contestants, c)
	}
	return contestants, nil
}

// show adds a table and a chart of the rates.
func (b *bench) show(section *report.Section, name, title string, contestants []*contestant, base *contestant) {
	section.Tables = append(section.Tables, standings(contestants, base))
	chart := &report.Chart{Name: name, Title: title}
	for _, c := range contestants {
		chart.Bars = append(chart.Bars, c.bar())
	}
	section.Charts = append(section.Charts, chart)
}

// atHalf offers everybody half of what userd carries.
func (b *bench) atHalf(ctx context.Context, section *report.Section, contestants []*contestant) error {
	half := report.NewFigure("/s", contestants[0].rate...).Median / 2
	var open []*contestant
	for _, c := range contestants {
		open = append(open, c.at(half, c.key+"/half", c.name))
		open[len(open)-1].mayRefuse = true
	}
	if err := b.race(ctx, b.openSlice, b.openRounds, open...); err != nil {
		return err
	}
	chart := &report.Chart{Name: "unary-latency", Title: "GetUser over gRPC at " + report.Number(half) + " calls a second", Unit: "ms"}
	for _, c := range open {
		chart.Lines = append(chart.Lines, c.line())
	}
	section.Tables = append(section.Tables, standings(open, open[len(open)-1]))
	section.Charts = append(section.Charts, chart)
	return nil
}

func (b *bench) overHTTP1(ctx context.Context, section *report.Section, rivals []rival) error {
	var able []rival
	for _, r := range rivals {
		if r.key == "userd" || r.key == "connect" { // The others are as these over HTTP/1.1.
			able = append(able, r)
		}
	}
	contestants, err := b.enterAll(able, "/json", load.Target{
		Wire: load.Wire{Protocol: load.ConnectHTTP1, Codec: load.JSON},
		Read: load.GetUser(b.small, load.JSON), Keys: load.Uniform(b.hot),
	})
	if err != nil {
		return err
	}
	for _, c := range contestants {
		c.name += ", JSON over HTTP/1.1"
	}
	if err := b.race(ctx, b.slice, b.rounds, contestants...); err != nil {
		return err
	}
	section.Tables = append(section.Tables, standings(contestants, contestants[len(contestants)-1]))
	return nil
}
