package main

import (
	"context"

	"github.com/example/userd/cmd/userbench/report"
)

var encodeScenario = scenario{
	name:  "encode",
	title: "Encoding and allocations on a cached read",
	text: "The micro-benchmark BenchmarkCachedGetUser of package server, once more: how often a user is encoded or decoded in a cached GetUser over gRPC, " +
		"and what is allocated: in the cache alone, in the chain of interceptors, handler and codec around it, and in the whole handler of the HTTP server.",
	run: runEncode,
}

// encodeMetrics are what the micro-benchmark reports.
var encodeMetrics = []string{"encodes/op", "decodes/op", "allocs/op", "B/op", "ns/op"}

func runEncode(ctx context.Context, b *bench, section *report.Section) error {
	layers, err := b.goBenchmarks(ctx, "server", "^BenchmarkCachedGetUser$", 2000)
	if err != nil {
		return err
	}
	table := report.Table{Columns: append([]string{"layer"}, encodeMetrics...)}
	var users []float64
	for _, layer := range layers {
		row := []string{layer.name}
		for _, name := range encodeMetrics {
			row = append(row, report.Number(layer.metrics[name]))
		}
		table.Add(row...)
		users = append(users, layer.metrics["encodes/op"]+layer.metrics["decodes/op"])
	}
	section.Tables = append(section.Tables, table)
	b.record("encode/users", "", users...)
	return nil
}
