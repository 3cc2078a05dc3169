package main

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/example/userd/cmd/userbench/lab"
	"github.com/example/userd/cmd/userbench/load"
	"github.com/example/userd/cmd/userbench/report"
	userv1 "github.com/example/userd/gen/user/v1"
)

var memoryScenario = scenario{
	name:  "memory",
	title: "Memory under slow readers",
	text: "Connections that begin ListUsers(all) and stop to read when the first flow control window (64 KiB, the default of HTTP/2) is full. " +
		"The table has by how much the resident memory of a server that has some of them grows with each of three times as many more, a few seconds later.",
	run: runMemory,
}

// defaultWindow is the flow control window of a client that asks for none.
const defaultWindow = 65_535

func runMemory(ctx context.Context, b *bench, section *report.Section) error {
	rivals, err := b.rivals(ctx, section, "userd", "grpc-go")
	if err != nil {
		return err
	}
	table := report.Table{Columns: []string{"server", "memory a slow reader"}}
	for _, r := range rivals {
		grown, err := b.slowReaders(r.server)
		if err != nil {
			return err
		}
		table.Add(r.name, b.record("memory/"+r.key, "KiB", grown/1024).String())
	}
	section.Tables = append(section.Tables, table)
	return nil
}

// slowReaders returns by how many bytes a server grows with each slow reader. Some are
// there before it is looked at, so that what a server makes for its first ones does not
// count: the pages of its program that they need, and the store's caches. Lists that are
// read to their end would not do: they leave free pages, which slow readers then use.
func (b *bench) slowReaders(server *lab.Server) (float64, error) {
	few, err := b.stall(server, b.slow)
	defer few.close()
	if err != nil {
		return 0, err
	}
	before, _, err := server.Memory()
	if err != nil {
		return 0, err
	}
	more := moreReaders * b.slow
	many, err := b.stall(server, more)
	defer many.close()
	if err != nil {
		return 0, err
	}
	after, _, err := server.Memory()
	return float64(after-before) / float64(more), err
}

// moreReaders is how many times as many slow readers come as there are.
const moreReaders = 3

type sessions []*load.Session

func (s sessions) close() {
	for _, session := range s {
		session.Close()
	}
}

// stall opens connections that list all users and stop to read, and returns when
// everything has come to rest.
func (b *bench) stall(server *lab.Server, readers int) (opened sessions, err error) {
	request, err := framed(&userv1.ListUsersRequest{All: true})
	if err != nil {
		return nil, err
	}
	var taken atomic.Int64
	for range readers {
		session, err := load.DialSession(server.Address, defaultWindow)
		if err != nil {
			return opened, err
		}
		opened = append(opened, session)
		stream := session.OpenStalled("ListUsers", func(message []byte) error {
			taken.Add(int64(len(message)))
			return nil
		})
		stream.Send(request)
		stream.CloseSend()
	}
	for last := int64(-1); taken.Load() != last; time.Sleep(b.settled) {
		last = taken.Load()
	}
	// There is no event for a server that has returned what it does not need.
	time.Sleep(b.settled)
	return opened, nil
}
