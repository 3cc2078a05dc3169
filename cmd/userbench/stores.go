package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"github.com/example/userd/cmd/userbench/lab"
	"github.com/example/userd/cmd/userbench/load"
	"github.com/example/userd/cmd/userbench/population"
	"github.com/example/userd/cmd/userbench/report"
)

var storesScenario = scenario{
	name:  "stores",
	title: "Stores beside their own tools",
	text: "Nothing is pinned here. PostgreSQL: an import through one stream beside psql's \\copy of the same rows into the same table, emptied in between, as userd is and without its cache; " +
		"CreateUser and GetUser, without a cache, at 16 connections with one call at a time beside pgbench with the statement that userd sends, its parameters made by pgbench. " +
		"\"Store alone\" are the benchmarks of package store/postgres, which call the store without a server: 16 callers beside pgbench. " +
		"SQLite: an import through one stream beside the bare engine inserting the same rows of all tables, in as many transactions.",
	run: runStores,
}

// pooled is the number of connections to PostgreSQL.
const pooled = 16

func runStores(ctx context.Context, b *bench, section *report.Section) error {
	if err := b.lab.Cores.UnpinLoad(); err != nil {
		return err
	}
	table := report.Table{Columns: []string{"what", "userd", "its own tool", "ratio"}}
	if err := b.sqliteStore(ctx, &table); err != nil {
		return fmt.Errorf("SQLite: %w", err)
	}
	if err := b.postgresStore(ctx, &table); err != nil {
		return fmt.Errorf("PostgreSQL: %w", err)
	}
	if err := b.postgresPackage(ctx, &table); err != nil {
		return err
	}
	section.Tables = append(section.Tables, table)
	return nil
}

// postgresPackage runs the benchmarks of package postgres that compare the store
// alone, called in its own process, with PostgreSQL's tools.
func (b *bench) postgresPackage(ctx context.Context, table *report.Table) error {
	if b.storeRuns == 0 {
		return nil
	}
	lines, err := b.goBenchmarks(ctx, "store/postgres", "^Benchmark(Create|Get)Beside", b.storeRuns)
	if err != nil {
		return err
	}
	for _, line := range lines {
		b.compare(table, "PostgreSQL, store alone: "+line.name, "/s",
			"store/"+line.name, []float64{line.metrics["calls/s"]}, "tool/"+line.name, []float64{line.metrics["tool-calls/s"]})
	}
	return nil
}

// compare records two figures and adds their row.
func (b *bench) compare(table *report.Table, what, unit, oursKey string, ours []float64, toolKey string, tool []float64) {
	o, t := b.record("stores/"+oursKey, unit, ours...), b.record("stores/"+toolKey, unit, tool...)
	table.Add(what, o.WithSpread(), t.WithSpread(), report.Number(o.Median/t.Median))
}

// timedImport imports the users of a kind through one stream and returns rows a
// second.
func (b *bench) timedImport(server *lab.Server, kind uint64) (float64, error) {
	r, err := b.prepare(kind, b.imported)
	if err != nil {
		return 0, err
	}
	return importRate(server, r)
}

// importRate imports rows through one stream and returns how many a second.
func importRate(server *lab.Server, r rows) (float64, error) {
	session, err := load.DialSession(server.Address, 0)
	if err != nil {
		return 0, err
	}
	defer session.Close()
	began := time.Now()
	err = importInto(session, r)
	return float64(r.count) / time.Since(began).Seconds(), err
}

func (b *bench) sqliteStore(ctx context.Context, table *report.Table) error {
	peers, err := b.fleet.program(ctx, b.lab.Root(), peersFolder)
	if err != nil {
		return err
	}
	var ours, bare []float64
	for round := range b.streamRounds {
		clear(b.prepared)
		database := b.fleet.emptySQLite()
		server, err := b.fleet.userd(ctx, false, database)
		if err != nil {
			return err
		}
		if err := server.Drain(); err != nil {
			return err
		}
		empty := b.lab.Path("bare.db")
		if err := copyFile(empty, sqliteFile(database)); err != nil {
			return err
		}
		if server, err = b.fleet.userd(ctx, false, database); err != nil {
			return err
		}
		rate, err := b.timedImport(server, importedKind+uint64(round))
		if err != nil {
			return err
		}
		if err := server.Drain(); err != nil {
			return err
		}
		ours = append(ours, rate)
		if rate, err = b.bareImport(ctx, peers, sqliteFile(database), empty, b.imported); err != nil {
			return err
		}
		bare = append(bare, rate)
	}
	b.compare(table, "SQLite, import through one stream", "/s", "sqlite/import", ours, "sqlite/bare", bare)
	return nil
}

// bareImport lets the engine alone insert the rows of one database into another.
func (b *bench) bareImport(ctx context.Context, peers, from, to string, users int) (float64, error) {
	out, err := b.lab.Run(exec.CommandContext(ctx, peers, "sqlite", from, to, fmt.Sprint(users)))
	if err != nil {
		return 0, fmt.Errorf("bare SQLite: %w", err)
	}
	var result struct{ Seconds float64 }
	if err := json.Unmarshal([]byte(out), &result); err != nil {
		return 0, fmt.Errorf("bare SQLite: %w", err)
	}
	return float64(users) / result.Seconds, nil
}

func (b *bench) postgresStore(ctx context.Context, table *report.Table) error {
	if err := b.postgresImport(ctx, table); err != nil {
		return fmt.Errorf("import: %w", err)
	}
	name, err := b.fleet.postgresDatabase(ctx)
	if err != nil {
		return err
	}
	server, err := b.fleet.userd(ctx, false, b.fleet.postgres.URL(name, fmt.Sprintf("&pool_max_conns=%d", pooled)), noCacheFlags...)
	if err != nil {
		return err
	}
	for _, c := range []struct {
		key, what string
		target    load.Target
		script    pgScript
	}{
		{"create", "PostgreSQL, single creates, 16 connections", load.Target{Read: load.CreateUser("single"), Keys: load.Uniform(1)}, createScript},
		{"get", "PostgreSQL, gets by id, 16 connections", load.Target{
			Read: load.GetUser(b.small, load.Proto), Keys: load.Uniform(b.small.Len()),
		}, getScript(b.small)},
	} {
		c.target.Wire.Protocol, c.target.Wire.Codec = load.GRPC, load.Proto
		c.target.Connections, c.target.Streams = pooled, 1
		if err := b.besidePgbench(table, server, name, c.key, c.what, c.target, c.script); err != nil {
			return fmt.Errorf("%s: %w", c.key, err)
		}
	}
	return nil
}

// postgresImport compares imports, as userd is and without a cache, with \copy.
func (b *bench) postgresImport(ctx context.Context, table *report.Table) error {
	type setup struct {
		what, key, toolKey string
		flags              []string
		database           string
		server             *lab.Server
		ours, copied       []float64
	}
	setups := []*setup{
		{what: `PostgreSQL, import through one stream beside psql \copy`, key: "postgres/import", toolKey: "postgres/copy"},
		{what: "the same without a cache", key: "postgres/bare import", toolKey: "postgres/bare copy", flags: noCacheFlags},
	}
	for _, s := range setups {
		var err error
		if s.database, err = b.fleet.emptyPostgres(ctx); err != nil {
			return err
		}
		if s.server, err = b.fleet.userd(ctx, false, b.fleet.postgres.URL(s.database, ""), s.flags...); err != nil {
			return err
		}
	}
	for round := range b.streamRounds {
		clear(b.prepared)
		for _, s := range setups {
			ours, copied, err := b.besideCopy(s.server, s.database, round)
			if err != nil {
				return err
			}
			s.ours, s.copied = append(s.ours, ours), append(s.copied, copied)
		}
	}
	for _, s := range setups {
		b.compare(table, s.what, "/s", s.key, s.ours, s.toolKey, s.copied)
	}
	return nil
}

// besideCopy imports rows, takes them out with \copy, empties the table and takes
// them in again. It returns rows a second.
func (b *bench) besideCopy(server *lab.Server, database string, round int) (ours, copied float64, err error) {
	const (
		inOrder = "(select * from users order by created_at, id)" // In which they came, as for the import.
		empty   = "truncate users, changes"
	)
	file := b.fleet.postgres.Path("users.copy")
	if ours, err = b.timedImport(server, importedKind+uint64(round)); err != nil {
		return 0, 0, err
	}
	for _, statement := range []string{`\copy ` + inOrder + ` to '` + file + `'`, empty} {
		if _, err := b.fleet.postgres.SQL(database, statement); err != nil {
			return 0, 0, err
		}
	}
	began := time.Now()
	if _, err := b.fleet.postgres.SQL(database, `\copy users from '`+file+`'`); err != nil {
		return 0, 0, err
	}
	copied = float64(b.imported) / time.Since(began).Seconds()
	_, err = b.fleet.postgres.SQL(database, empty)
	return ours, copied, err
}

// pgScript makes a pgbench script of a statement that userd has sent.
type pgScript struct {
	finds   string // The statement, in the list of those that were sent last.
	number  string // How pgbench chooses a number for each transaction.
	byType  map[string]string
	byPlace map[int]string // Of parameters that differ from others of their type, from 1.
}

var createScript = pgScript{
	finds:  "insert into users",
	number: "random(1, 9000000000000000)",
	byType: map[string]string{
		"uuid": "md5('created-' || :n)::uuid", "text": "'p' || :n || '@bench.example'", "text[]": "'{member}'::text[]",
		"timestamp with time zone": "now()", "boolean": "false", "jsonb": "'{}'::jsonb",
	},
	// External id, time of creation, last login: as userd sends them for a user without.
	byPlace: map[int]string{8: "null::text", 10: "null::timestamptz", 11: "null::timestamptz"},
}

func getScript(users *population.Users) pgScript {
	return pgScript{
		finds:  "from users where id = $1",
		number: fmt.Sprintf("random(0, %d)", users.Len()-1),
		byType: map[string]string{"uuid": fmt.Sprintf("md5('%d-' || :n)::uuid", users.Kind())},
	}
}

var parameter = regexp.MustCompile(`\$(\d+)`)

// script is the pgbench script. It finds the statement where PostgreSQL shows what
// each connection has done last, and the types of its parameters by preparing it.
func (s pgScript) script(postgres *lab.Postgres, database string) (string, error) {
	statement, err := postgres.SQL(database, "select query from pg_stat_activity where datname = '"+database+
		"' and pid <> pg_backend_pid() and query like '%"+s.finds+"%' order by query_start desc limit 1")
	if err != nil {
		return "", err
	}
	if statement == "" {
		return "", fmt.Errorf("userd has sent no statement with %q", s.finds)
	}
	types, err := postgres.SQL(database, "prepare sent as "+statement+
		`; select array_to_string(parameter_types::text[], ';') from pg_prepared_statements where name = 'sent'`)
	if err != nil {
		return "", err
	}
	values := strings.Split(types, ";")
	for i, name := range values {
		if values[i] = cmp.Or(s.byPlace[i+1], s.byType[strings.Trim(name, `"`)]); values[i] == "" {
			return "", fmt.Errorf("a parameter of type %s in %s", name, statement)
		}
	}
	statement = parameter.ReplaceAllStringFunc(strings.Join(strings.Fields(statement), " "), func(p string) string {
		var n int
		if _, err := fmt.Sscanf(p, "$%d", &n); err != nil || n > len(values) {
			return p
		}
		return "(" + values[n-1] + ")"
	})
	return `\set n ` + s.number + "\n" + statement + ";\n", nil
}

// besidePgbench lets userd and pgbench run in turn.
func (b *bench) besidePgbench(table *report.Table, server *lab.Server, database, key, what string, target load.Target, script pgScript) error {
	c, err := b.enter("stores/"+key, what, server, target)
	if err != nil {
		return err
	}
	postgres := b.fleet.postgres
	// While calls are made: later, connections may have done something else.
	loaded := make(chan error, 1)
	go func() {
		_, err := c.load(b.storeSlice)
		loaded <- err
	}()
	text, err := script.script(postgres, database)
	if err := errors.Join(err, <-loaded); err != nil {
		return err
	}
	var tool []float64
	for range (b.streamRounds + 1) / 2 {
		if err := c.slice(b.storeSlice); err != nil {
			return err
		}
		rate, err := postgres.Pgbench(database, text, pooled, b.storeSlice)
		if err != nil {
			return err
		}
		tool = append(tool, rate)
	}
	b.compare(table, what, "/s", "postgres/"+key, c.rate, "pgbench/"+key, tool)
	return nil
}
