package main

import (
	"context"
	"fmt"
	"time"

	"github.com/example/userd/cmd/userbench/lab"
	"github.com/example/userd/cmd/userbench/load"
	"github.com/example/userd/cmd/userbench/population"
	"github.com/example/userd/cmd/userbench/report"
)

var peakScenario = scenario{
	name:  "peak",
	title: "Memory of large streams",
	text: "By how much the resident memory of userd on SQLite rises above that of the same process idle: while rows are imported through one stream into an empty database, " +
		"while more such imports follow on it, and, after a restart, while one stream lists all users that are there then. " +
		"Nothing is pinned. The peak is the system's high-water mark, set back when the server is idle.",
	run: runPeak,
}

// peakKind is the kind of users that the large streams carry.
const peakKind = 1

func runPeak(ctx context.Context, b *bench, section *report.Section) error {
	if err := b.lab.Cores.UnpinLoad(); err != nil {
		return err
	}
	users := population.New(peakKind, b.peakImports*b.peakRows)
	database := b.fleet.emptySQLite()
	table := report.Table{Columns: []string{"what", "memory above idle", "took"}}
	if err := b.peakOfImports(ctx, &table, database, users); err != nil {
		return fmt.Errorf("import: %w", err)
	}
	if err := b.peakOfList(ctx, &table, database, users); err != nil {
		return fmt.Errorf("list: %w", err)
	}
	section.Tables = append(section.Tables, table)
	return nil
}

// idleServer is a server, a connection to it, and the server's memory when it had
// nothing to do yet.
type idleServer struct {
	*lab.Server
	session *load.Session
	memory  int64
}

// idle starts a server and lets its peak count from when it has come to rest.
func (b *bench) idle(ctx context.Context, database string) (s idleServer, err error) {
	if s.Server, err = b.fleet.userd(ctx, false, database); err != nil {
		return s, err
	}
	if s.session, err = load.DialSession(s.Address, 0); err != nil {
		return s, err
	}
	b.fleet.closers = append(b.fleet.closers, s.session.Close)
	time.Sleep(b.settled) // Idle is a state, not an event.
	if err = s.ResetPeak(); err == nil {
		s.memory, _, err = s.Memory()
	}
	return s, err
}

// peakOfImports imports users in as many streams as the plan says.
func (b *bench) peakOfImports(ctx context.Context, table *report.Table, database string, users *population.Users) error {
	server, err := b.idle(ctx, database)
	if err != nil {
		return err
	}
	var took time.Duration
	for n := range b.peakImports {
		r, err := importRows(users, n*b.peakRows, (n+1)*b.peakRows)
		if err != nil {
			return err
		}
		began := time.Now()
		if err := importInto(server.session, r); err != nil {
			return err
		}
		took += time.Since(began)
		switch n {
		case 0:
			err = b.addPeak(table, server, report.Number(float64(b.peakRows))+" rows imported through one stream", "peak/import", took)
		case b.peakImports - 1:
			err = b.addPeak(table, server, fmt.Sprintf("%d such imports, one after the other", b.peakImports), "peak/imports", took)
		}
		if err != nil {
			return err
		}
	}
	return server.Drain()
}

// peakOfList lists all users through one stream.
func (b *bench) peakOfList(ctx context.Context, table *report.Table, database string, users *population.Users) error {
	server, err := b.idle(ctx, database)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := list(server.session, tallyOf(users)); err != nil {
		return err
	}
	return b.addPeak(table, server, report.Number(float64(users.Len()))+" users listed in one stream", "peak/list", time.Since(began))
}

func (b *bench) addPeak(table *report.Table, server idleServer, what, key string, took time.Duration) error {
	_, peak, err := server.Memory()
	if err != nil {
		return err
	}
	table.Add(what, b.record(key, "MiB", float64(peak-server.memory)/(1<<20)).String(), took.Round(time.Second/10).String())
	return nil
}
