package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/example/userd/cmd/userbench/lab"
	"github.com/example/userd/cmd/userbench/load"
	"github.com/example/userd/cmd/userbench/population"
	"github.com/example/userd/cmd/userbench/report"
	userv1 "github.com/example/userd/gen/user/v1"
)

var streamsScenario = scenario{
	name:  "streams",
	title: "Streams",
	text: "Messages a second over gRPC, two streams at a time on connections of their own, every message checked. The server has one core. " +
		"userd is on SQLite. \"Store off\" is the product's server over users in memory that keeps no write, so that it can be compared with peers that have no database.",
	run: runStreams,
}

// pace is how fast messages were and what they have cost.
type pace struct {
	rate float64 // Messages a second.
	cpu  float64 // Microseconds of the server's processor for each.
}

// streamKind is a kind of streams.
type streamKind struct {
	key, title string
	often      int // How many times as many rounds it needs, because its streams are short.
	run        func(b *bench, r rival, round int) (pace, error)
}

var streamKinds = []streamKind{
	{"list", "ListUsers(all)", 1, (*bench).list},
	{"import", "BatchCreateUsers", 3, (*bench).importAll},
	{"updates", "StreamUserUpdates", 1, (*bench).updateAll},
}

func runStreams(ctx context.Context, b *bench, section *report.Section) error {
	rivals, err := b.rivals(ctx, section, "userd", "storeoff", tonic, "grpc-go")
	if err != nil {
		return err
	}
	for _, kind := range streamKinds {
		if err := b.runStreamKind(ctx, section, kind, rivals); err != nil {
			return fmt.Errorf("%s: %w", kind.title, err)
		}
	}
	return b.fanOut(section, rivals[0].server)
}

// runStreamKind lets the rivals stream in turn.
func (b *bench) runStreamKind(ctx context.Context, section *report.Section, kind streamKind, rivals []rival) error {
	rates, costs := make(map[string][]float64), make(map[string][]float64)
	for round := range kind.often * b.streamRounds {
		clear(b.prepared)
		for _, r := range rivals {
			if err := ctx.Err(); err != nil {
				return err
			}
			found, err := kind.run(b, r, round)
			if err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
			rates[r.key] = append(rates[r.key], found.rate)
			costs[r.key] = append(costs[r.key], found.cpu)
		}
	}
	table := report.Table{Columns: []string{kind.title, "messages/s", "ratio", "server CPU a message"}}
	base := report.NewFigure("", rates["grpc-go"]...)
	for _, r := range rivals {
		key := "streams/" + kind.key + "/" + r.key
		figure := b.record(key, "/s", rates[r.key]...)
		table.Add(r.name, figure.WithSpread(), report.Number(figure.Median/base.Median), report.NewFigure("µs", costs[r.key]...).String())
	}
	section.Tables = append(section.Tables, table)
	return nil
}

// streamPair is the number of streams at a time.
const streamPair = 2

// together runs a call on each of two connections at a time.
func together(server *lab.Server, messages int, call func(n int, session *load.Session) error) (pace, error) {
	var sessions []*load.Session
	for range streamPair {
		session, err := load.DialSession(server.Address, 0)
		if err != nil {
			return pace{}, err
		}
		defer session.Close()
		sessions = append(sessions, session)
	}
	ended := make(chan error, streamPair)
	before, cpuErr := server.CPU()
	began := time.Now()
	for n, session := range sessions {
		go func() { ended <- call(n, session) }()
	}
	var errs []error
	for range sessions {
		errs = append(errs, <-ended)
	}
	took := time.Since(began)
	after, err := server.CPU()
	found := pace{rate: float64(streamPair*messages) / took.Seconds(), cpu: math.NaN()}
	if cpuErr == nil && err == nil {
		found.cpu = float64((after - before).Microseconds()) / float64(streamPair*messages)
	}
	return found, errors.Join(errs...)
}

// list reads all users.
func (b *bench) list(r rival, _ int) (pace, error) {
	everybody := tallyOf(b.small)
	return together(r.server, b.small.Len(), func(_ int, session *load.Session) error {
		return list(session, everybody)
	})
}

// sent is how many messages each stream to a rival has: enough for some rounds of the
// garbage collector, or as many as a database can keep in that time.
func (b *bench) sent(r rival) int {
	if r.key == "userd" {
		return b.stored
	}
	return b.streamed
}

// prepare makes the rows of an import, once for all rivals of a round.
func (b *bench) prepare(kind uint64, count int) (rows, error) {
	key := preparedKey{kind, count}
	if made, ok := b.prepared[key]; ok {
		return made, nil
	}
	made, err := importRows(population.New(kind, count), 0, count)
	b.prepared[key] = made
	return made, err
}

type preparedKey struct {
	kind  uint64
	count int
}

// importAll imports rows that the server has not seen.
func (b *bench) importAll(r rival, round int) (pace, error) {
	var imports [streamPair]rows
	count := b.sent(r)
	for n := range imports {
		var err error
		if imports[n], err = b.prepare(uint64(importedKind+streamPair*round+n), count); err != nil {
			return pace{}, err
		}
	}
	return together(r.server, count, func(n int, session *load.Session) error {
		return importInto(session, imports[n])
	})
}

// updateAll changes names, and checks that each update is answered in turn.
func (b *bench) updateAll(r rival, round int) (pace, error) {
	var updates [streamPair][]byte
	count := min(b.sent(r), b.small.Len())
	for n := range updates {
		name := fmt.Sprintf("Round %d of %d", round, n)
		for i := range count {
			update, err := framed(&userv1.UserUpdate{UserId: b.small.ID(i), DisplayName: &name})
			if err != nil {
				return pace{}, err
			}
			updates[n] = append(updates[n], update...)
		}
	}
	return together(r.server, count, func(n int, session *load.Session) error {
		answered := 0
		stream := session.Open("StreamUserUpdates", func(message []byte) error {
			answered++
			return load.CheckUpdated(message, b.small, answered-1)
		})
		stream.Send(updates[n])
		stream.CloseSend()
		if err := stream.Wait(); err != nil {
			return err
		}
		if answered != count {
			return fmt.Errorf("%d of %d updates were answered", answered, count)
		}
		return nil
	})
}
