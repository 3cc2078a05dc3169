package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/example/userd/cmd/userbench/report"
)

// goal is a row of the table of goals: which figures it compares, and how. A bound
// that is 0 does not hold.
type goal struct {
	what, goal string
	ours, peer string  // Keys of figures; a goal without a peer has absolute bounds.
	atLeast    float64 // ours / peer.
	atMost     float64
	min, max   float64 // Of ours.
}

// goals are all rows, in the order of the table.
var goals = append(shapeGoals(), []goal{
	{what: "cached GetUser over gRPC, one core", goal: "≥ 1.2 × tonic", ours: "unary/userd/gRPC, proto/rate", peer: "unary/tonic/gRPC, proto/rate", atLeast: 1.2},
	{what: "cached GetUser over gRPC, one core", goal: "≥ 2 × grpc-go", ours: "unary/userd/gRPC, proto/rate", peer: "unary/grpc-go/gRPC, proto/rate", atLeast: 2},
	{what: "cached GetUser over gRPC, one core", goal: "≥ 8 × Connect on net/http", ours: "unary/userd/gRPC, proto/rate", peer: "unary/connect/gRPC, proto/rate", atLeast: 8},
	{what: "cached GetUser over gRPC, callers known by tokens", goal: "≥ 0.97 × without", ours: "unary/known/gRPC, proto/rate", peer: "unary/anybody/rate", atLeast: 0.97},
	{what: "cached GetUser over gRPC, callers known by JWT", goal: "≥ 0.97 × without", ours: "unary/jwt/gRPC, proto/rate", peer: "unary/anybody/rate", atLeast: 0.97},
	{what: "p99 at half of that load", goal: "≤ grpc-go's", ours: "unary/userd/gRPC, proto/half/p99", peer: "unary/grpc-go/gRPC, proto/half/p99", atMost: 1},
	{what: "p99 at half of that load", goal: "≤ tonic's", ours: "unary/userd/gRPC, proto/half/p99", peer: "unary/tonic/gRPC, proto/half/p99", atMost: 1},
	{what: "gRPC-Web, CPU of a call", goal: "≤ 1.3 × gRPC's", ours: "wire/userd/gRPC-Web, HTTP/2, proto/cpu", peer: "wire/userd/gRPC, proto/cpu", atMost: 1.3},
	{what: "Connect over HTTP/2, proto, CPU of a call", goal: "≤ 1.3 × gRPC's", ours: "wire/userd/Connect, HTTP/2, proto/cpu", peer: "wire/userd/gRPC, proto/cpu", atMost: 1.3},
	{what: "Connect over HTTP/2, JSON, CPU of a call", goal: "≤ 1.6 × gRPC's", ours: "wire/userd/Connect, HTTP/2, json/cpu", peer: "wire/userd/gRPC, proto/cpu", atMost: 1.6},
	{what: "Connect over HTTP/2, GET, CPU of a call", goal: "≤ 2 × gRPC's", ours: "wire/userd/Connect, HTTP/2, GET, proto/cpu", peer: "wire/userd/gRPC, proto/cpu", atMost: 2},
	{what: "cached GetUser, Connect JSON over HTTP/1.1", goal: "≥ 1.5 × Connect on net/http", ours: "unary/userd/Connect, HTTP/1.1, json/rate", peer: "unary/connect/Connect, HTTP/1.1, json/rate", atLeast: 1.5},
	{what: "p99 with the cache and without, PostgreSQL, at 50 % of what the uncached server carries", goal: "lower", ours: "cache/near/50/p99", peer: "cache/none/50/p99", atMost: 1},
	{what: "p99 with the cache and without, PostgreSQL, at 70 %", goal: "lower", ours: "cache/near/70/p99", peer: "cache/none/70/p99", atMost: 1},
	{what: "p99 with the cache and without, PostgreSQL, at 90 %", goal: "≥ 82 % lower", ours: "cache/near/90/p99", peer: "cache/none/90/p99", atMost: muchLower},
	{what: "rounds of ten in which it is, at 90 %", goal: "≥ 9", ours: "cache/rounds/90", min: 9},
	{what: "p99 with the cache and without, PostgreSQL, at 200 %", goal: "≥ 82 % lower", ours: "cache/near/200/p99", peer: "cache/none/200/p99", atMost: muchLower},
	{what: "rounds of ten in which it is, at 200 %", goal: "≥ 9", ours: "cache/rounds/200", min: 9},
	{what: "p99 at 12,000 requests/s with the cache, PostgreSQL", goal: "< 22 ms", ours: "cache/near/12000/p99", max: 22},
	{what: "requests/s answered of 12,000 offered", goal: "≥ 11,800", ours: "cache/near/12000/rate", min: 11_800},
	{what: "calls to the store avoided, 95 % reads, Zipf(1.0)", goal: "≥ 94 %", ours: "cache/avoided", min: 94},
	{what: "reads without a Redis round trip, 95 % reads, Zipf(1.0)", goal: "≥ 71 %", ours: "cache/redis avoided", min: 71},
	{what: "server memory of a slow reader; peer: grpc-go", goal: "≤ 64 KiB", ours: "memory/userd", peer: "memory/grpc-go", max: 64},
	{what: "ListUsers(all), messages/s, store off", goal: "≥ 1.5 × grpc-go", ours: "streams/list/storeoff", peer: "streams/list/grpc-go", atLeast: 1.5},
	{what: "ListUsers(all), messages/s, store off", goal: "≥ 1.0 × tonic", ours: "streams/list/storeoff", peer: "streams/list/tonic", atLeast: 1},
	{what: "client stream (import), messages/s, store off", goal: "≥ 1.1 × grpc-go", ours: "streams/import/storeoff", peer: "streams/import/grpc-go", atLeast: 1.1},
	{what: "client stream (import), messages/s, store off", goal: "≥ 0.7 × tonic", ours: "streams/import/storeoff", peer: "streams/import/tonic", atLeast: 0.7},
	{what: "StreamUserUpdates, messages/s, store off", goal: "≥ 0.5 × tonic", ours: "streams/updates/storeoff", peer: "streams/updates/tonic", atLeast: 0.5},
	{what: "StreamUserUpdates, messages/s, SQLite", goal: "≥ 100,000", ours: "streams/updates/userd", min: 100_000},
	{what: "1,000 watchers, 20 updates a second: update sent to update seen, p99", goal: "≤ 20 ms", ours: "streams/watch/p99", max: 20},
	{what: "PostgreSQL import through one stream, rows/s", goal: "≥ 0.75 × psql \\copy", ours: "stores/postgres/import", peer: "stores/postgres/copy", atLeast: 0.75},
	{what: "PostgreSQL import through one stream without the cache, rows/s", goal: "≥ 0.7 × psql \\copy", ours: "stores/postgres/bare import", peer: "stores/postgres/bare copy", atLeast: 0.7},
	{what: "PostgreSQL single creates/s, store alone, 16 callers", goal: "≥ 0.8 × pgbench", ours: "stores/store/CreateBesidePgbench", peer: "stores/tool/CreateBesidePgbench", atLeast: 0.8},
	{what: "PostgreSQL gets by id/s, store alone, 16 callers", goal: "≥ 0.8 × pgbench", ours: "stores/store/GetBesidePgbench", peer: "stores/tool/GetBesidePgbench", atLeast: 0.8},
	{what: "PostgreSQL single creates/s over gRPC, 16 connections", goal: "≥ 0.8 × pgbench", ours: "stores/postgres/create", peer: "stores/pgbench/create", atLeast: 0.8},
	{what: "PostgreSQL gets by id/s over gRPC, 16 connections", goal: "≥ 0.8 × pgbench", ours: "stores/postgres/get", peer: "stores/pgbench/get", atLeast: 0.8},
	{what: "SQLite import through one stream, rows/s", goal: "≥ 60,000", ours: "stores/sqlite/import", min: 60_000},
	{what: "SQLite import through one stream, rows/s", goal: "≥ 1.2 × the bare engine", ours: "stores/sqlite/import", peer: "stores/sqlite/bare", atLeast: 1.2},
	{what: "memory above idle while one stream imports 100,000 rows, SQLite", goal: "< 100 MiB", ours: "peak/import", max: 100},
	{what: "memory above idle, ten imports of 100,000 rows in a row, SQLite", goal: "≤ 100 MiB", ours: "peak/imports", max: 100},
	{what: "memory above idle while one stream lists 1,000,000 users, SQLite", goal: "< 100 MiB", ours: "peak/list", max: 100},
	{what: "users encoded or decoded by a cached read", goal: "0", ours: "encode/users", max: noneAtAll},
	{what: "start to first answer", goal: "≤ 100 ms", ours: "start/answer", max: 100},
	{what: "idle memory, anonymous", goal: "≤ 10 MiB", ours: "start/anonymous", max: 10},
	{what: "a write is seen on another server, p99", goal: "≤ 10 ms", ours: "propagation/p99", max: 10},
	{what: "staleness on another server, longest", goal: "≤ 2,000 ms", ours: "propagation/stale", max: 2_000},
	{what: "overload, worst row: goodput / peak", goal: "≥ 0.9", ours: "overload/goodput", min: 0.9},
	{what: "overload, worst row: p99 of what is answered / uncontended", goal: "≤ 3", ours: "overload/p99", max: 3},
	{what: "overload, worst row: other classes' rate / uncontended", goal: "≥ 0.5", ours: "overload/others", min: 0.5},
	{what: "overload, worst row: other classes' p99 / uncontended", goal: "≤ 4", ours: "overload/others p99", max: 4},
	{what: "overload, worst row: rate of hot cached reads / uncontended", goal: "≥ 0.5", ours: "overload/hot", min: 0.5},
	{what: "overload, worst row: memory above idle", goal: "≤ 200 MiB", ours: "overload/memory", max: 200},
	{what: "overload, worst row: time to recover", goal: "≤ 1 s", ours: "overload/recovery", max: 1},
	{what: "overload, worst row: users who were stored and not answered as created", goal: "≤ 1 %", ours: "overload/stored", max: 1},
	{what: "one caller at full load, worst row: the others' rate / without it", goal: "≥ 0.5", ours: "principals/rate", min: 0.5},
	{what: "one caller at full load, worst row: the others' p99 / without it", goal: "≤ 2", ours: "principals/p99", max: 2},
}...)

// noneAtAll is a bound that only 0 keeps to.
const noneAtAll = 1e-9

// evaluate makes the table of goals from what has been measured. No row is left out.
func evaluate(r *report.Report) []report.Goal {
	var table []report.Goal
	for _, g := range goals {
		table = append(table, g.evaluate(r))
	}
	return table
}

func (g goal) evaluate(r *report.Report) report.Goal {
	ours, peer := r.Figures[g.ours], r.Figures[g.peer]
	row := report.Goal{What: g.what, Goal: g.goal, Ours: ours.WithSpread(), Peer: peer.WithSpread(), Ratio: "–"}
	if ours.Known() && peer.Known() {
		row.Ratio = report.Number(ours.Median / peer.Median)
	}
	switch {
	case !ours.Known():
		row.Verdict = "not measured (" + why(r, g.ours) + ")"
	case g.needsPeer() && !peer.Known():
		row.Verdict = "not measured (" + why(r, g.peer) + ")"
	case g.met(ours.Median, peer.Median):
		row.Verdict = "met"
	default:
		row.Verdict = "not met"
	}
	return row
}

func (g goal) needsPeer() bool { return g.atLeast > 0 || g.atMost > 0 }

func (g goal) met(ours, peer float64) bool {
	return (g.atLeast == 0 || ours/peer >= g.atLeast) &&
		(g.atMost == 0 || ours/peer <= g.atMost) &&
		(g.min == 0 || ours >= g.min) &&
		(g.max == 0 || ours <= g.max)
}

// why is why a figure is not there.
func why(r *report.Report, key string) string {
	name, _, _ := strings.Cut(key, "/")
	for _, s := range scenarios {
		if s.name != name {
			continue
		}
		for _, section := range r.Sections {
			if section.Title == s.title {
				return fmt.Sprintf("%s: %s", s.name, cause(section, key))
			}
		}
		return "-run leaves out " + s.name
	}
	return "no scenario measures it"
}

func cause(section *report.Section, key string) string {
	for _, absent := range section.Absent {
		if slices.Contains(strings.Split(key, "/"), absent.Name) {
			return absent.Value
		}
	}
	if section.Failed == "" {
		return "it has no such figure"
	}
	return section.Failed
}
