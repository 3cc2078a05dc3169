package main

import (
	"context"

	"github.com/example/userd/cmd/userbench/load"
	"github.com/example/userd/cmd/userbench/report"
)

var wireScenario = scenario{
	name:  "wire",
	title: "Protocols and codecs",
	text: "GetUser in every way to call it, closed loop, 8 connections × 16 streams (HTTP/1.1: 128 connections), users of 150 B that every cache holds, server on one core. " +
		"Ratios are to gRPC. CPU is the server's alone.",
	run: runWire,
}

// wires are the ways to call that are compared, with the first one.
var wires = []load.Wire{
	{Protocol: load.GRPC, Codec: load.Proto},
	{Protocol: load.GRPCWeb, Codec: load.Proto},
	{Protocol: load.Connect, Codec: load.Proto},
	{Protocol: load.Connect, Codec: load.JSON},
	{Protocol: load.Connect, Codec: load.Proto, Get: true},
	{Protocol: load.ConnectHTTP1, Codec: load.JSON},
}

func runWire(ctx context.Context, b *bench, section *report.Section) error {
	rivals, err := b.rivals(ctx, section, "userd", before)
	if err != nil {
		return err
	}
	var contestants []*contestant
	for _, wire := range wires {
		entered, err := b.enterAll("wire", rivals, wire)
		if err != nil {
			return err
		}
		contestants = append(contestants, entered...)
	}
	if err := b.race(ctx, b.slice, b.rounds, contestants...); err != nil {
		return err
	}
	table := newStandings("closed loop")
	for i, c := range contestants {
		table.add(c, contestants[i%len(rivals)])
	}
	section.Tables = append(section.Tables, table.Table)
	b.sinceBefore(section, contestants)
	return nil
}
