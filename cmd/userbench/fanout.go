package main

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/example/userd/cmd/userbench/lab"
	"github.com/example/userd/cmd/userbench/load"
	"github.com/example/userd/cmd/userbench/report"
	userv1 "github.com/example/userd/gen/user/v1"
)

const (
	// watchersEach is the number of watchers on a connection: the most that userd
	// allows when it is not told otherwise.
	watchersEach = 100
	// watchedRate is the number of updates a second.
	watchedRate = 20
	// fanOutWait bounds how long the watchers may take to see the last update.
	fanOutWait = 30 * time.Second
)

// fanOut lets many watchers see the same updates.
func (b *bench) fanOut(section *report.Section, server *lab.Server) error {
	w := &watch{sent: make(map[string]time.Time), latency: load.NewHistogram(), moved: make(chan struct{}, 1)}
	request, err := framed(&userv1.WatchUsersRequest{})
	if err != nil {
		return err
	}
	for n := 0; n < b.watchers; n += watchersEach {
		session, err := load.DialSession(server.Address, 0)
		if err != nil {
			return err
		}
		defer session.Close()
		for range min(watchersEach, b.watchers-n) {
			stream := session.Open("WatchUsers", w.taker())
			stream.Send(request)
			stream.CloseSend()
		}
	}
	if err := w.await(func() bool { return w.begun >= b.watchers }); err != nil {
		return fmt.Errorf("WatchUsers: %d of %d watchers have begun: %w", w.begun, b.watchers, err)
	}
	if err := b.updateWatched(server, w); err != nil {
		return err
	}
	if err := w.await(func() bool { return w.seen >= b.watchers*b.watched }); err != nil {
		return fmt.Errorf("WatchUsers: %d of %d updates were seen: %w", w.seen, b.watchers*b.watched, err)
	}
	table := report.Table{Columns: []string{"WatchUsers", "p50", "p99", "longest"}}
	table.Add(fmt.Sprintf("update sent to update seen, %d watchers, %d updates a second", b.watchers, watchedRate),
		report.NewFigure("ms", percentile(w.latency, 50)).String(),
		b.record("streams/watch/p99", "ms", percentile(w.latency, 99)).String(),
		report.NewFigure("ms", percentile(w.latency, 100)).String())
	section.Tables = append(section.Tables, table)
	return nil
}

// updateWatched changes one user after the other, each once.
func (b *bench) updateWatched(server *lab.Server, w *watch) error {
	session, err := load.DialSession(server.Address, 0)
	if err != nil {
		return err
	}
	defer session.Close()
	op := load.UpdateUser(b.small)
	next := time.Now()
	for i := range b.watched {
		time.Sleep(time.Until(next))
		next = next.Add(time.Second / watchedRate)
		w.mu.Lock()
		w.sent[b.small.ID(i)] = time.Now()
		w.mu.Unlock()
		if err := session.Unary(op, i); err != nil {
			return err
		}
	}
	return nil
}

// watch is what the watchers have seen.
type watch struct {
	mu      sync.Mutex
	sent    map[string]time.Time // When the update of a user was sent.
	latency *hdrhistogram.Histogram
	begun   int // Watchers that have had their first message.
	seen    int // Updates, over all watchers.
	moved   chan struct{}
}

// taker returns what takes the messages of one more watcher. The first says from where on it
// watches; later ones may have no events either.
func (w *watch) taker() func(message []byte) error {
	begun := false
	return func(message []byte) error {
		now := time.Now()
		var response userv1.WatchUsersResponse
		if err := proto.Unmarshal(message, &response); err != nil {
			return err
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if !begun {
			begun = true
			w.begun++
		}
		return w.take(&response, now)
	}
}

// take takes what was received at a time. w.mu is held.
func (w *watch) take(response *userv1.WatchUsersResponse, now time.Time) error {
	for _, event := range response.GetEvents() {
		sent, ok := w.sent[event.GetUpserted().GetId()]
		if !ok {
			return fmt.Errorf("an event for user %q, which was not changed", event.GetUpserted().GetId())
		}
		w.seen++
		if err := w.latency.RecordValue(max(1, now.Sub(sent).Microseconds())); err != nil {
			return err
		}
	}
	select {
	case w.moved <- struct{}{}:
	default:
	}
	return nil
}

// await returns when something is so.
func (w *watch) await(so func() bool) error {
	timeout := time.NewTimer(fanOutWait)
	defer timeout.Stop()
	for {
		w.mu.Lock()
		done := so()
		w.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-w.moved:
		case <-timeout.C:
			return errors.New("no more within " + fanOutWait.String())
		}
	}
}
