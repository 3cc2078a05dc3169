package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"github.com/prometheus/procfs"

	"github.com/example/userd/cmd/userbench/report"
)

// machine is what a reader needs to know to make sense of absolute figures.
func (b *bench) machine() []report.Fact {
	facts := []report.Fact{
		{Name: "processor", Value: fmt.Sprintf("%s, %d usable", processor(), runtime.NumCPU())},
		{Name: "pinning", Value: b.lab.Cores.String()},
		{Name: "system", Value: runtime.GOOS + "/" + runtime.GOARCH},
		{Name: "Go", Value: runtime.Version()},
		{Name: "load average before the run", Value: b.busyBefore},
		{Name: "revision", Value: b.revision},
	}
	if b.before != "" {
		facts = append(facts, report.Fact{Name: "revision before", Value: revision(b.before)})
	}
	if b.fleet.postgres != nil {
		if version, err := b.fleet.postgres.SQL("postgres", "show server_version"); err == nil {
			facts = append(facts, report.Fact{Name: "PostgreSQL", Value: version + ", fsync on"})
		}
	}
	if b.fleet.redis != nil {
		if version, err := b.fleet.redis.Version(); err == nil {
			facts = append(facts, report.Fact{Name: "Redis", Value: version})
		}
	}
	return facts
}

// revision is what the folder of the project has.
func revision(root string) string {
	name, err := exec.Command("git", "-C", root, "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(name))
}

// processor is the name that the system gives the processor.
func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(text)) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// loadAverage is how many threads of this machine wanted to run in the last minute.
// Much above 0, others have taken part of what is measured.
func loadAverage() string {
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return "unknown"
	}
	load, err := proc.LoadAvg()
	if err != nil {
		return "unknown"
	}
	return fmt.Sprint(load.Load1)
}
