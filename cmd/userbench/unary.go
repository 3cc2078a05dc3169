package main

import (
	"context"

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

func runUnary(ctx context.Context, b *bench, section *report.Section) error {
	rivals, err := b.rivals(ctx, section, "userd", tonic, "grpc-go", "net/http", "connect")
	if err != nil {
		return err
	}
	contestants, err := b.enterAll(rivals, "", load.Target{
		Wire: load.Wire{Protocol: load.GRPC, Codec: load.Proto},
		Read: load.GetUser(b.small, load.Proto), Keys: load.Uniform(b.hot),
	})
	if err != nil {
		return err
	}
	if err := b.race(ctx, b.slice, b.rounds, contestants...); err != nil {
		return err
	}
	b.show(section, "unary-rate", "GetUser over gRPC, calls a second on one core", contestants, contestants[len(contestants)-1])
	if err := b.atHalf(ctx, section, "unary-latency", contestants); err != nil {
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

// atHalf offers everybody half of what the first one carries.
func (b *bench) atHalf(ctx context.Context, section *report.Section, chartName string, contestants []*contestant) error {
	half := report.NewFigure("/s", contestants[0].rate...).Median / 2
	var open []*contestant
	for _, c := range contestants {
		open = append(open, c.at(half, c.key+"/half", c.name))
		open[len(open)-1].mayRefuse = true
	}
	if err := b.race(ctx, b.openSlice, b.openRounds, open...); err != nil {
		return err
	}
	chart := &report.Chart{Name: chartName, Title: "GetUser over gRPC at " + report.Number(half) + " calls a second", Unit: "ms"}
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
		if r.key == "userd" || r.key == "connect" {
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
