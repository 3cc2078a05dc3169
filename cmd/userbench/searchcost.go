package main

import (
	"context"
	"fmt"

	"github.com/example/userd/cmd/userbench/load"
	"github.com/example/userd/cmd/userbench/report"
)

// searchCosts compares what it costs that users can be searched: their imports, and single
// creates, each into a database of its own, with those of the revision before.
func (b *bench) searchCosts(ctx context.Context, section *report.Section) error {
	if b.before == "" {
		section.Absent = append(section.Absent, report.Fact{Name: "imports and creates beside before", Value: "needs -before"})
		return nil
	}
	for _, engine := range searchedEngines {
		if !b.rows.MatchString(engine.name) {
			continue
		}
		var imports, creates [2][]float64
		for range b.streamRounds {
			for i, root := range []string{b.lab.Root(), b.before} {
				imported, created, err := b.searchCost(ctx, root, engine)
				if err != nil {
					return fmt.Errorf("%s: %w", engine.name, err)
				}
				imports[i], creates[i] = append(imports[i], imported), append(creates[i], created)
			}
		}
		table := report.Table{Columns: []string{engine.name, "now", "before", "ratio"}}
		add := func(what string, rates [2][]float64) {
			key := "search/" + engine.name + "/" + what
			now, then := b.record(key, "/s", rates[0]...), b.record(key+"/before", "/s", rates[1]...)
			table.Add(what, now.WithSpread(), then.WithSpread(), report.Number(now.Median/then.Median))
		}
		add("rows of an import", imports)
		add("single creates", creates)
		section.Tables = append(section.Tables, table)
	}
	return nil
}

// searchCost returns how many rows a second userd of a tree imports, and how many users it
// creates one by one.
func (b *bench) searchCost(ctx context.Context, root string, engine searchedEngine) (imported, created float64, err error) {
	database, err := engine.empty(ctx, &b.fleet, root)
	if err != nil {
		return 0, 0, err
	}
	server, err := b.fleet.userdOf(ctx, root, false, database, noCacheFlags...)
	if err != nil {
		return 0, 0, err
	}
	defer server.Stop()
	people, err := peopleRows(0, min(b.people, b.imported)) // Who fit into one import.
	if err != nil {
		return 0, 0, err
	}
	if imported, err = importRate(server, people); err != nil {
		return 0, 0, err
	}
	target := load.Target{Read: load.CreateUser("single"), Keys: load.Uniform(1), Connections: pooled, Streams: 1}
	target.Wire.Protocol, target.Wire.Codec = load.GRPC, load.Proto
	c, err := b.enter("search/creates", "single creates", server, target)
	if err != nil {
		return 0, 0, err
	}
	defer c.generator.Close()
	if err := c.slice(b.storeSlice); err != nil {
		return 0, 0, err
	}
	return imported, c.rate[0], nil
}
