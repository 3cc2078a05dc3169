package main

import (
	"context"
	"fmt"
	"os/exec"
	"strings"

	"github.com/example/userd/cmd/userbench/report"
)

var encodeScenario = scenario{
	name:  "encode",
	title: "Encoding on a cached read",
	text: "The micro-benchmark BenchmarkCachedGetUser of package server counts how often a user is encoded or decoded in a cached GetUser over gRPC " +
		"(encodes/op, decodes/op) and its allocations. It is run once more here.",
	run: runEncode,
}

// encodeMetrics are what the micro-benchmark reports.
var encodeMetrics = []string{"encodes/op", "decodes/op", "allocs/op", "B/op"}

func runEncode(ctx context.Context, b *bench, section *report.Section) error {
	command := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^BenchmarkCachedGetUser$", "-benchtime", "1000x", "-benchmem", "./server")
	command.Dir = b.lab.Root()
	out, err := b.lab.Run(command)
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	found := benchmarkMetrics(out)
	encodes, encodesOK := found["encodes/op"]
	decodes, decodesOK := found["decodes/op"]
	if !encodesOK || !decodesOK {
		return unavailable("package server has no BenchmarkCachedGetUser that counts encodes/op and decodes/op")
	}
	b.record("encode/users", "", encodes+decodes)
	table := report.Table{Columns: []string{"metric", "a cached GetUser"}}
	for _, name := range encodeMetrics {
		table.Add(name, report.Number(found[name]))
	}
	section.Tables = append(section.Tables, table)
	return nil
}

// benchmarkMetrics are the values in the last result line of go test -bench.
func benchmarkMetrics(out string) map[string]float64 {
	found := make(map[string]float64)
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		for i := 2; i+1 < len(fields); i += 2 {
			var value float64
			if _, err := fmt.Sscan(fields[i], &value); err == nil {
				found[fields[i+1]] = value
			}
		}
	}
	return found
}
