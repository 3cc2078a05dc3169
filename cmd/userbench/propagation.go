package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"google.golang.org/protobuf/proto"

	"github.com/example/userd/cmd/userbench/load"
	"github.com/example/userd/cmd/userbench/report"
	userv1 "github.com/example/userd/gen/user/v1"
)

var propagationScenario = scenario{
	name:  "propagation",
	title: "Propagation between two servers",
	text: "Two userd on one PostgreSQL and one Redis. A user that the second server has in its near cache is changed on the first one, and read on the second one, over and over, until the change is seen. " +
		"The time is from the answer to the write to the end of the first read that shows it. Staleness is the longest time after that answer at which a read still began and showed the old version.",
	run: runPropagation,
}

// seenWithin bounds how long a change may take to be seen.
const seenWithin = 10 * time.Second

func runPropagation(ctx context.Context, b *bench, section *report.Section) error {
	redis, err := b.fleet.redisServer()
	if err != nil {
		return err
	}
	database, err := b.fleet.postgresDatabase(ctx)
	if err != nil {
		return err
	}
	var sessions [2]*load.Session
	for i := range sessions {
		server, err := b.fleet.userd(ctx, true, b.fleet.postgres.URL(database, ""), "--redis", redis.URL())
		if err != nil {
			return err
		}
		if sessions[i], err = load.DialSession(server.Address, 0); err != nil {
			return err
		}
		defer sessions[i].Close()
	}
	p := &propagation{writer: sessions[0], reader: sessions[1], seen: load.NewHistogram()}
	for i := range b.propagated {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := p.follow(b, i%b.small.Len()); err != nil {
			return err
		}
	}
	table := report.Table{Columns: []string{"changes", "seen after, p50", "p99", "longest staleness"}}
	table.Add(fmt.Sprint(b.propagated),
		report.NewFigure("ms", percentile(p.seen, 50)).String(),
		b.record("propagation/p99", "ms", percentile(p.seen, 99)).String(),
		b.record("propagation/stale", "ms", milliseconds(p.stale)).String())
	section.Tables = append(section.Tables, table)
	return nil
}

// propagation follows changes from one server to another.
type propagation struct {
	writer, reader *load.Session
	seen           *hdrhistogram.Histogram
	stale          time.Duration
}

// follow changes one user and waits until the other server shows it.
func (p *propagation) follow(b *bench, key int) error {
	id := b.small.ID(key)
	if _, err := version(p.reader, id); err != nil { // Now it is in the cache.
		return err
	}
	written, err := p.change(id)
	if err != nil {
		return err
	}
	answered := time.Now()
	for {
		began := time.Now()
		found, err := version(p.reader, id)
		if err != nil {
			return err
		}
		if found >= written {
			return p.seen.RecordValue(max(1, time.Since(answered).Microseconds()))
		}
		p.stale = max(p.stale, began.Sub(answered))
		if time.Since(answered) > seenWithin {
			return fmt.Errorf("version %d of user %s is not seen after %s", written, id, seenWithin)
		}
	}
}

// change gives a user a new name and returns the new version.
func (p *propagation) change(id string) (int64, error) {
	name := "Changed " + time.Now().Format(time.RFC3339Nano)
	request, err := proto.Marshal(&userv1.UpdateUserRequest{Update: &userv1.UserUpdate{UserId: id, DisplayName: &name}})
	if err != nil {
		return 0, err
	}
	var response userv1.UpdateUserResponse
	err = p.writer.Call("UpdateUser", request, func(message []byte) error { return proto.Unmarshal(message, &response) })
	return response.GetUser().GetVersion(), err
}

// version is the version of a user that a server shows.
func version(session *load.Session, id string) (int64, error) {
	request, err := proto.Marshal(&userv1.GetUserRequest{UserId: id})
	if err != nil {
		return 0, err
	}
	var response userv1.GetUserResponse
	err = session.Call("GetUser", request, func(message []byte) error { return proto.Unmarshal(message, &response) })
	if err == nil && response.GetUser().GetId() != id {
		err = errors.New("user " + id + " was asked for, the answer has " + response.GetUser().GetId())
	}
	return response.GetUser().GetVersion(), err
}
