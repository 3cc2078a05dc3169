package main

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// benchmarkLine is what go test -bench prints of one benchmark.
type benchmarkLine struct {
	name    string             // Without "Benchmark" and the number of processors.
	metrics map[string]float64 // By unit.
}

// goBenchmarks runs benchmarks of a package of the project, each this many times.
func (b *bench) goBenchmarks(ctx context.Context, folder, pattern string, times int) ([]benchmarkLine, error) {
	command := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", pattern, "-benchtime", fmt.Sprintf("%dx", times), "-benchmem", "./"+folder)
	command.Dir = b.lab.Root()
	out, err := b.lab.Run(command)
	if err != nil {
		return nil, fmt.Errorf("benchmarks of %s: %w: %s", folder, err, out)
	}
	return benchmarkLines(out), nil
}

// benchmarkLines are the lines with results in what go test -bench prints.
func benchmarkLines(out string) []benchmarkLine {
	var found []benchmarkLine
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := strings.TrimPrefix(fields[0], "Benchmark")
		if at := strings.LastIndexByte(name, '-'); at > 0 {
			name = name[:at]
		}
		metrics := make(map[string]float64)
		for i := 2; i+1 < len(fields); i += 2 {
			var value float64
			if _, err := fmt.Sscan(fields[i], &value); err == nil {
				metrics[fields[i+1]] = value
			}
		}
		found = append(found, benchmarkLine{name, metrics})
	}
	return found
}
