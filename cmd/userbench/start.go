package main

import (
	"context"
	"time"

	"github.com/example/userd/cmd/userbench/load"
	"github.com/example/userd/cmd/userbench/report"
)

var startScenario = scenario{
	name:  "start",
	title: "Start",
	text:  "From the start of a userd process on a database with users to the first right answer of GetUser over gRPC, and the process's resident memory after that.",
	run:   runStart,
}

func runStart(ctx context.Context, b *bench, section *report.Section) error {
	database, err := b.fleet.sqlite(ctx, b.lab.Root())
	if err != nil {
		return err
	}
	var answered, memory []float64
	for range b.starts {
		server, err := b.fleet.userd(ctx, true, database)
		if err != nil {
			return err
		}
		session, err := load.DialSession(server.Address, 0)
		if err != nil {
			return err
		}
		if err := session.Unary(load.GetUser(b.small, load.Proto), 0); err != nil {
			return err
		}
		answered = append(answered, milliseconds(time.Since(server.Began)))
		session.Close()
		time.Sleep(b.settled) // Idle is a state, not an event.
		bytes, _, err := server.Memory()
		if err != nil {
			return err
		}
		memory = append(memory, float64(bytes)/(1<<20))
		if err := server.Drain(); err != nil {
			return err
		}
	}
	table := report.Table{Columns: []string{"what", "userd"}}
	table.Add("start to first answer", b.record("start/answer", "ms", answered...).WithSpread())
	table.Add("idle memory", b.record("start/memory", "MiB", memory...).WithSpread())
	section.Tables = append(section.Tables, table)
	return nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }
