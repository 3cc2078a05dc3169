package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/example/userd/cmd/userbench/load"
	"github.com/example/userd/cmd/userbench/report"
)

var shapesScenario = scenario{
	name:  "shapes",
	title: "GetUser from many callers and few",
	text: "GetUser as beside all peers, over gRPC, from other numbers of connections, and of streams at a time on each. userd has `--auth-file`, and a token comes with each call; tonic lets in everybody. " +
		"A closed loop finds what each carries; then userd and tonic get 70 % of what tonic carries, and the latencies count from when a call was to be sent. " +
		"h2o, a server in C, sends a file with the answer of a Connect GET for one user, so that its CPU is what HTTP/2 alone costs. Ratios are to tonic.",
	run: runShapes,
}

// callerShapes are from a few programs that share connections to many that do not.
var callerShapes = []shape{
	{connections: 8, streams: 16},
	{connections: 64, streams: 1},
	{connections: 500, streams: 1},
	{connections: 1, streams: 1},
	{connections: 1, streams: 100},
}

func (s shape) String() string { return fmt.Sprintf("%d × %d", s.connections, s.streams) }

// shapeGoals are those of each shape.
func shapeGoals() (all []goal) {
	for _, s := range callerShapes {
		ours, peer := s.key("userd"), s.key(tonic)
		all = append(all,
			goal{what: fmt.Sprintf("cached GetUser over gRPC with a token, one core, %s", s), goal: "≥ 1.2 × tonic", ours: ours + "/rate", peer: peer + "/rate", atLeast: 1.2},
			goal{what: fmt.Sprintf("CPU of such a call, %s", s), goal: "≤ 1.6 × h2o's for a file", ours: ours + "/cpu", peer: s.key(floor) + "/cpu", atMost: 1.6},
			goal{what: fmt.Sprintf("p99 of it at 70 %% of what tonic carries, %s", s), goal: "≤ tonic's", ours: ours + "/open/p99", peer: peer + "/open/p99", atMost: 1},
		)
	}
	return all
}

func (s shape) key(rival string) string { return fmt.Sprintf("shapes/%s/%s", s, rival) }

func runShapes(ctx context.Context, b *bench, section *report.Section) error {
	token, flags, err := byToken(b.lab.Path("shapes"))
	if err != nil {
		return err
	}
	server, err := b.fleet.userdOnSQLite(ctx, b.lab.Root(), flags...)
	if err != nil {
		return err
	}
	floors, err := b.rivals(ctx, section, floor)
	if err != nil {
		return err
	}
	peers, err := b.rivals(ctx, section, tonic)
	if err != nil {
		return err
	}
	rivals := slices.Concat(floors, []rival{{"userd", rivalNames["userd"], server}}, peers)
	for _, s := range callerShapes {
		if err := b.showShape(ctx, section, rivals, s, token); err != nil {
			return err
		}
	}
	return nil
}

// showShape shows what rivals carry, and how late they are with a part of that.
func (b *bench) showShape(ctx context.Context, section *report.Section, rivals []rival, s shape, token string) error {
	var closed, open []*contestant
	for _, r := range rivals {
		target := b.cachedGets(load.Wire{Protocol: load.GRPC, Codec: load.Proto})
		switch r.key {
		case "userd":
			target.Wire.Token = token
		case floor:
			target = b.cachedGets(load.Wire{Protocol: load.Connect, Codec: load.Proto, Get: true})
			target.Keys = load.Uniform(1)
		}
		target.Connections, target.Streams = s.connections, s.streams
		c, err := b.enter(s.key(r.key), r.name, r.server, target)
		if err != nil {
			return err
		}
		closed = append(closed, c)
	}
	if err := b.show(ctx, section, s.String()+", closed loop", b.slice, b.rounds, closed); err != nil {
		return err
	}
	offered := 0.7 * report.NewFigure("/s", closed[len(closed)-1].rate...).Median
	for i, c := range closed {
		if rivals[i].key != floor {
			open = append(open, c.at(offered, c.key+"/open", c.name))
		}
	}
	return b.show(ctx, section, fmt.Sprintf("%s, %s calls/s offered", s, report.Number(offered)), b.openSlice, b.openRounds, open)
}
