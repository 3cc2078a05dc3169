package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/example/userd/cmd/userbench/load"
	"github.com/example/userd/cmd/userbench/report"
)

// writeShare is the part of writes in the load of which calls are counted.
const writeShare = 0.05

// counts are what a server has done, and what others have had to do for it.
type counts struct {
	reads, writes float64
	near, shared  float64 // Hits, as the server counts them.
	misses        float64
	stored        float64 // Reads of the store, as the server counts them.
	commands      float64 // Of Redis.
	transactions  float64 // Of PostgreSQL.
}

// counts are the counts up to now, without PostgreSQL's, which come late.
func (s *setup) counts(ctx context.Context) (counts, error) {
	metrics, err := s.server.Metrics(ctx)
	if err != nil {
		return counts{}, err
	}
	var c counts
	c.reads, _ = metrics.Sum("rpc_server_call_duration_seconds_count", "/GetUser\"")
	c.writes, _ = metrics.Sum("rpc_server_call_duration_seconds_count", "/UpdateUser\"")
	c.near, _ = metrics.Sum("userd_cache_hits_total", `tier="near"`)
	c.shared, _ = metrics.Sum("userd_cache_hits_total", `tier="redis"`)
	c.misses, _ = metrics.Sum("userd_cache_misses_total")
	c.stored, _ = metrics.Sum("userd_cache_store_reads_total")
	if s.redis != nil {
		c.commands, err = s.redis.Commands()
	}
	return c, err
}

// since returns what happened between two moments.
func (c counts) since(before counts) counts {
	return counts{
		reads: c.reads - before.reads, writes: c.writes - before.writes,
		near: c.near - before.near, shared: c.shared - before.shared,
		misses: c.misses - before.misses, stored: c.stored - before.stored,
		commands: c.commands - before.commands, transactions: c.transactions - before.transactions,
	}
}

// storeReads are the reads of the store. Without a cache every read is one.
func (c counts) storeReads(s setup) float64 {
	if s.noCache {
		return c.reads
	}
	return c.stored
}

// countCalls runs the mixed load on one setup after the other and counts what it
// takes.
func (b *bench) countCalls(ctx context.Context, section *report.Section, key, engine string, setups []setup) error {
	before, err := b.transactions(ctx, setups)
	if err != nil {
		return err
	}
	counted := make([]counts, len(setups))
	for i, s := range setups {
		if counted[i], err = b.countSetup(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	after, err := b.transactions(ctx, setups)
	if err != nil {
		return err
	}
	for i := range setups {
		counted[i].transactions = after[i] - before[i]
	}
	b.showCounts(section, key, engine, setups, counted)
	return nil
}

// transactions are PostgreSQL's counts for each setup, when they are complete.
func (b *bench) transactions(ctx context.Context, setups []setup) ([]float64, error) {
	found := make([]float64, len(setups))
	for i, s := range setups {
		if s.database == "" {
			continue
		}
		if i == 0 {
			time.Sleep(b.settleStatistics)
		}
		var err error
		if found[i], err = b.fleet.postgres.Transactions(ctx, s.database); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// countSetup returns what the mixed load takes.
func (b *bench) countSetup(ctx context.Context, s setup) (counts, error) {
	target := b.reads()
	target.Write, target.Share = load.UpdateUser(b.small), writeShare
	c, err := b.enter("", s.name, s.server, target)
	if err != nil {
		return counts{}, err
	}
	before, err := s.counts(ctx)
	if err != nil {
		return counts{}, err
	}
	if err := c.warm(3 * b.openSlice); err != nil {
		return counts{}, err
	}
	after, err := s.counts(ctx)
	if err != nil {
		return counts{}, err
	}
	found := after.since(before)
	switch {
	case found.reads == 0:
		err = errors.New("the server has counted no read")
	case s.noCache && found.near+found.shared > 0:
		err = fmt.Errorf("with %s, the server has taken %.0f reads from one", s.name, found.near+found.shared)
	}
	return found, err
}

// showCounts adds the table of the calls that each setup takes.
func (b *bench) showCounts(section *report.Section, key, engine string, setups []setup, counted []counts) {
	table := report.Table{Columns: []string{
		engine + ", 5 % writes", "reads", "near hits", "best for its size", "hits", "store reads a read", "store reads avoided",
		"PostgreSQL transactions a call", "reads without a Redis round trip", "Redis commands a call",
	}}
	for i, s := range setups {
		c, key := counted[i], key+"/"+s.key
		reads := c.storeReads(s)
		stored := b.record(key+"/store reads", "", reads/c.reads)
		avoided := b.record(key+"/avoided", "%", 100*max(0, 1-reads/c.reads))
		near, all := c.hits(b, key)
		asked := b.record(key+"/redis avoided", "%", 100*(1-(c.shared+c.misses)/c.reads))
		if s.redis == nil {
			asked = report.Figure{}
		}
		table.Add(s.name, report.Number(c.reads), near.String(), b.best(s), all.String(), stored.String(), avoided.String(),
			b.share(s.database != "", key+"/transactions", c.transactions, c).String(), asked.String(),
			b.share(s.redis != nil, key+"/redis commands", c.commands, c).String())
	}
	section.Tables = append(section.Tables, table)
}

// share records what each call has taken of something, where there is such a thing.
func (b *bench) share(there bool, key string, amount float64, c counts) report.Figure {
	if !there {
		return report.Figure{}
	}
	return b.record(key, "", amount/(c.reads+c.writes))
}

// hits are the hit rates that the server tells: of the near cache, and of both.
func (c counts) hits(b *bench, key string) (near, all report.Figure) {
	total := c.near + c.shared + c.misses
	if c.near+c.shared == 0 {
		return
	}
	return b.record(key+"/near hits", "%", 100*c.near/total), b.record(key+"/hits", "%", 100*(c.near+c.shared)/total)
}

// best is the hit rate of a near cache that always holds the most popular users.
func (b *bench) best(s setup) string {
	switch {
	case s.noCache:
		return "–"
	case s.key == "redis":
		return report.Number(100*b.zipf.Share(b.inFlight())) + "%"
	}
	return report.Number(100*b.zipf.Share(nearEntries)) + "%"
}
