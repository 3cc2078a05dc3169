package main

import (
	"context"
	"fmt"
	"time"

	"github.com/example/userd/cmd/userbench/lab"
	"github.com/example/userd/cmd/userbench/load"
	"github.com/example/userd/cmd/userbench/population"
	"github.com/example/userd/cmd/userbench/report"
	userv1 "github.com/example/userd/gen/user/v1"
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
const peakKind = 2

func runPeak(ctx context.Context, b *bench, section *report.Section) error {
	if err := b.lab.Cores.UnpinLoad(); err != nil {
		return err
	}
	users := population.New(peakKind, b.peakImports*b.peakRows, smallUser)
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

// peakOfImports imports users in as many streams as the plan says.
func (b *bench) peakOfImports(ctx context.Context, table *report.Table, database string, users *population.Users) error {
	server, err := b.fleet.unpinned(ctx, database)
	if err != nil {
		return err
	}
	session, err := load.DialSession(server.Address, 0)
	if err != nil {
		return err
	}
	defer session.Close()
	idle, err := b.idle(server)
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
		if err := importInto(session, r); err != nil {
			return err
		}
		took += time.Since(began)
		what, key := "", ""
		switch n {
		case 0:
			what, key = report.Number(float64(b.peakRows))+" rows imported through one stream", "peak/import"
		case b.peakImports - 1:
			what, key = fmt.Sprintf("%d such imports, one after the other", b.peakImports), "peak/imports"
		default:
			continue
		}
		if err := b.addPeak(table, server, idle, what, key, took); err != nil {
			return err
		}
	}
	return server.Drain()
}

// peakOfList lists all users through one stream.
func (b *bench) peakOfList(ctx context.Context, table *report.Table, database string, users *population.Users) error {
	server, err := b.fleet.unpinned(ctx, database)
	if err != nil {
		return err
	}
	session, err := load.DialSession(server.Address, 0)
	if err != nil {
		return err
	}
	defer session.Close()
	request, err := framed(&userv1.ListUsersRequest{All: true})
	if err != nil {
		return err
	}
	census := newCensus(users)
	idle, err := b.idle(server)
	if err != nil {
		return err
	}
	began := time.Now()
	stream := session.Open("ListUsers", census.take)
	stream.Send(request)
	stream.CloseSend()
	if err := stream.Wait(); err != nil {
		return err
	}
	if err := census.complete(); err != nil {
		return err
	}
	what := report.Number(float64(users.Len())) + " users listed in one stream"
	return b.addPeak(table, server, idle, what, "peak/list", time.Since(began))
}

// idle returns the memory of a server that has nothing to do, and lets its peak
// count from there.
func (b *bench) idle(server *lab.Server) (int64, error) {
	time.Sleep(b.settled) // Idle is a state, not an event.
	if err := server.ResetPeak(); err != nil {
		return 0, err
	}
	return server.Memory()
}

func (b *bench) addPeak(table *report.Table, server *lab.Server, idle int64, what, key string, took time.Duration) error {
	peak, err := server.Peak()
	if err != nil {
		return err
	}
	table.Add(what, b.record(key, "MiB", float64(peak-idle)/(1<<20)).String(), took.Round(time.Second/10).String())
	return nil
}
