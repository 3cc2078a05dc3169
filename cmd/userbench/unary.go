package main

import (
	"context"
	"slices"
	"time"

	"github.com/example/userd/cmd/userbench/load"
	"github.com/example/userd/cmd/userbench/report"
)

var unaryScenario = scenario{
	name:  "unary",
	title: "GetUser beside its peers",
	text: "GetUser of users of 150 B that every cache holds, uniformly chosen; 8 connections × 16 streams over gRPC, 128 connections over HTTP/1.1. " +
		"userd is as it is shipped, on SQLite with its in-process cache; the peers answer from a map in memory. " +
		"The server has one core. A closed loop finds what each carries; then each gets half of what userd carries, and the latencies count from when a call was to be sent. " +
		"The last table is of userd with `--auth-file`, and a token with each call, and with `--jwt-keys`, and a JWT with each, beside userd without. Ratios are to the last row.",
	run: runUnary,
}

func runUnary(ctx context.Context, b *bench, section *report.Section) error {
	rivals, err := b.rivals(ctx, section, "userd", before, tonic, "grpc-go", "connect")
	if err != nil {
		return err
	}
	contestants, err := b.enterAll("unary", rivals, load.Wire{Protocol: load.GRPC, Codec: load.Proto})
	if err != nil {
		return err
	}
	if err := b.show(ctx, section, "closed loop", b.slice, b.rounds, contestants); err != nil {
		return err
	}
	half := report.NewFigure("/s", contestants[0].rate...).Median / 2
	var open []*contestant
	for _, c := range contestants {
		open = append(open, c.at(half, c.key+"/half", c.name))
	}
	if err := b.show(ctx, section, report.Number(half)+" calls/s offered", b.openSlice, b.openRounds, open); err != nil {
		return err
	}
	able := slices.DeleteFunc(rivals, func(r rival) bool { return r.key == tonic || r.key == "grpc-go" })
	over1, err := b.enterAll("unary", able, load.Wire{Protocol: load.ConnectHTTP1, Codec: load.JSON})
	if err != nil {
		return err
	}
	if err := b.show(ctx, section, "closed loop", b.slice, b.rounds, over1); err != nil {
		return err
	}
	return b.showCallers(ctx, section, contestants[0])
}

// show lets contestants race and adds a table of them.
func (b *bench) show(ctx context.Context, section *report.Section, what string, slice time.Duration, rounds int, contestants []*contestant) error {
	if err := b.race(ctx, slice, rounds, contestants...); err != nil {
		return err
	}
	table := newStandings(what)
	for _, c := range contestants {
		table.add(c, contestants[len(contestants)-1])
	}
	section.Tables = append(section.Tables, table.Table)
	b.sinceBefore(section, contestants)
	return nil
}
