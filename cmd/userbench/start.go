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
	text: "From the start of a userd process on a database with users to the first right answer of GetUser over gRPC, and the process's memory after that: " +
		"what is resident, and the part of it that is anonymous. The rest is pages of the program's file, which the system shares, and takes back when it needs them.",
	run: runStart,
}

func runStart(ctx context.Context, b *bench, section *report.Section) error {
	database, err := b.fleet.sqlite(ctx, b.lab.Root())
	if err != nil {
		return err
	}
	var answered, resident, anonymous []float64
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
		all, _, err := server.Memory()
		if err != nil {
			return err
		}
		part, err := server.Anonymous()
		if err != nil {
			return err
		}
		resident, anonymous = append(resident, mebibytes(all)), append(anonymous, mebibytes(part))
		if err := server.Drain(); err != nil {
			return err
		}
	}
	table := report.Table{Columns: []string{"what", "userd"}}
	table.Add("start to first answer", b.record("start/answer", "ms", answered...).WithSpread())
	table.Add("idle memory, resident", b.record("start/memory", "MiB", resident...).WithSpread())
	table.Add("idle memory, anonymous", b.record("start/anonymous", "MiB", anonymous...).WithSpread())
	section.Tables = append(section.Tables, table)
	return nil
}

func mebibytes(bytes int64) float64 { return float64(bytes) / (1 << 20) }

func milliseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }
