package main

import (
	"context"
	"fmt"
	"time"

	"github.com/example/userd/cmd/userbench/load"
	"github.com/example/userd/cmd/userbench/report"
)

// writeShare is the part of writes in the load of which calls are counted.
const writeShare = 0.05

// counts are what a server has done at a moment, and what others have had to do
// for it.
type counts struct {
	reads, writes float64
	transactions  float64 // Of PostgreSQL.
	commands      float64 // Of Redis.
	near, shared  float64 // Hits, as the server counts them.
	misses        float64
}

func (s *setup) counts(ctx context.Context, b *bench) (counts, error) {
	metrics, err := s.server.Metrics(ctx)
	if err != nil {
		return counts{}, err
	}
	var c counts
	c.reads, _ = metrics.Sum("rpc_server_call_duration_seconds_count", "/GetUser\"")
	c.writes, _ = metrics.Sum("rpc_server_call_duration_seconds_count", "/UpdateUser\"")
	c.near, _ = metrics.Sum(cacheReads, nearHit)
	c.shared, _ = metrics.Sum(cacheReads, sharedHit)
	c.misses, _ = metrics.Sum(cacheReads, miss)
	if s.database != "" {
		time.Sleep(settleStatistics)
		if c.transactions, err = b.fleet.postgres.Transactions(ctx, s.database); err != nil {
			return counts{}, err
		}
	}
	if s.redis != nil {
		c.commands, err = s.redis.Commands()
	}
	return c, err
}

// since returns what happened between two moments.
func (c counts) since(before counts) counts {
	return counts{
		reads: c.reads - before.reads, writes: c.writes - before.writes,
		transactions: c.transactions - before.transactions, commands: c.commands - before.commands,
		near: c.near - before.near, shared: c.shared - before.shared, misses: c.misses - before.misses,
	}
}

// storeReads are the calls to the store for reads, or a negative number where they
// cannot be known. Each write is one transaction.
func (c counts) storeReads(s setup) float64 {
	switch {
	case s.database != "":
		return max(0, c.transactions-c.writes)
	case s.noCache:
		return c.reads
	case c.near+c.shared+c.misses > 0:
		return c.misses
	}
	return -1
}

// countCalls runs the mixed load on one setup after the other and counts what it
// takes.
func (b *bench) countCalls(ctx context.Context, section *report.Section, key, engine string, setups []setup) error {
	table := report.Table{Columns: []string{
		engine + ", 5 % writes", "reads", "near hits", "best for its size", "hits", "store calls a read", "store calls avoided", "Redis commands a call",
	}}
	commands := make(map[string]float64)
	for _, s := range setups {
		c, err := b.countSetup(ctx, s)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if c.reads == 0 {
			return fmt.Errorf("%s: the server has counted no read", s.name)
		}
		stored, avoided := report.Figure{}, report.Figure{}
		if reads := c.storeReads(s); reads >= 0 {
			stored = b.record(key+"/"+s.key+"/store calls", "", reads/c.reads)
			avoided = b.record(key+"/"+s.key+"/avoided", "%", 100*max(0, 1-reads/c.reads))
		}
		near, all := c.hits(b, key+"/"+s.key)
		row := []string{s.name, report.Number(c.reads), near.String(), b.best(s), all.String(), stored.String(), avoided.String(), "–"}
		if s.redis != nil {
			commands[s.key] = c.commands / (c.reads + c.writes)
			row[len(row)-1] = b.record(key+"/"+s.key+"/redis commands", "", commands[s.key]).String()
		}
		table.Add(row...)
	}
	if alone, both := commands["redis"], commands["near"]; alone > 0 {
		b.record(key+"/redis avoided", "%", 100*(1-both/alone))
	}
	section.Tables = append(section.Tables, table)
	return nil
}

// countSetup returns what the mixed load takes.
func (b *bench) countSetup(ctx context.Context, s setup) (counts, error) {
	target := b.reads(s)
	target.Write, target.Share = load.UpdateUser(b.small), writeShare
	c, err := b.enter("", s.name, s.server, target)
	if err != nil {
		return counts{}, err
	}
	before, err := s.counts(ctx, b)
	if err != nil {
		return counts{}, err
	}
	if err := c.warm(3 * b.openSlice); err != nil {
		return counts{}, err
	}
	after, err := s.counts(ctx, b)
	return after.since(before), err
}

// hits are the hit rates that the server tells: of the near cache, and of both.
func (c counts) hits(b *bench, key string) (near, all report.Figure) {
	total := c.near + c.shared + c.misses
	if total == 0 {
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
		return report.Number(100*b.zipf.Share(1)) + "%"
	}
	return report.Number(100*b.zipf.Share(nearEntries)) + "%"
}

// How the server counts reads of its cache.
const (
	cacheReads = "userd_cache_reads_total"
	nearHit    = `result="near"`
	sharedHit  = `result="shared"`
	miss       = `result="miss"`
)
