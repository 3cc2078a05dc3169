package remote

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"sync/atomic"
	"time"

	"buf.build/go/protovalidate"
	"golang.org/x/sync/errgroup"

	"github.com/example/userd/cmd/userd/cli"
	"github.com/example/userd/cmd/userd/rows"
	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/server/failure"
)

const (
	// batchRows are sent with one call. The server lists as many failures.
	batchRows = 1000
	// retryFor is how long the server may be away.
	retryFor = 2 * time.Minute
)

// fileImport is the import of one file. Batches are sent by several streams at a time, and
// counted in the order of the file, so that all before a row is done when it is counted.
type fileImport struct {
	flags        *importFlags
	users        userv1connect.UserServiceClient
	conflict     userv1.OnConflict
	file         *os.File
	reader       rows.Reader
	shown        *progress
	progressName string // "" for standard input.
	failuresName string
	failures     *os.File // Nil until a row fails.
	failureRows  rows.FailureWriter
	state        importState
	sum          hash.Hash   // Of the rows that are done.
	waiting      atomic.Bool // For a server that is away.
}

// batch is consecutive rows.
type batch struct {
	rows []rows.Row
	done chan result // Takes one.
}

// result is what became of a batch.
type result struct {
	response *userv1.BatchCreateUsersResponse
	failed   map[int]string // Why, by the index of the row.
	err      error
}

func (i *fileImport) run(ctx context.Context) error {
	if err := i.skip(); err != nil {
		return err
	}
	if err := i.save(); err != nil { // Rows that are stored before any are counted keep their ids.
		return cli.Wrong(fmt.Errorf("an import writes beside its file how far it has come: %w: "+
			"copy the file to a folder where you may write, or import what it holds from standard input, with --format %s", err, i.state.Format))
	}
	group, ctx := errgroup.WithContext(ctx)
	work, order := make(chan *batch), make(chan *batch, i.flags.streams)
	read := make(chan error, 1)
	go func() { // Not waited for when the import has failed: standard input may be silent for ever.
		read <- i.read(ctx, work, order)
		close(work)
		close(order)
	}()
	for range i.flags.streams {
		group.Go(func() error { return i.sendAll(ctx, work) })
	}
	group.Go(func() error { return i.count(ctx, order) })
	if err := group.Wait(); err != nil {
		return err
	}
	return <-read
}

// skip goes past the rows that are done, which must be those of before. Those behind them may
// have been mended.
func (i *fileImport) skip() error {
	for range i.state.Rows {
		row, err := i.reader.Read()
		if err != nil {
			return fmt.Errorf("the file has fewer rows than were imported: %w", err)
		}
		row.AddTo(i.sum)
	}
	if sum := i.rowsSum(); i.state.Rows > 0 && sum != i.state.Sum {
		return cli.Wrong(fmt.Errorf("the first %d rows, which are done, are others than before", i.state.Rows))
	}
	return nil
}

// rowsSum is the sum of the rows that are done, as the state has it.
func (i *fileImport) rowsSum() string { return hex.EncodeToString(i.sum.Sum(nil)) }

// read makes batches of the file. Each goes to whoever sends it and to whoever counts it.
func (i *fileImport) read(ctx context.Context, work, order chan<- *batch) error {
	for row := i.state.Rows; ; {
		b := &batch{done: make(chan result, 1)}
		var err error
		for len(b.rows) < batchRows && err == nil {
			var r rows.Row
			if r, err = i.reader.Read(); err == nil {
				i.complete(r.User, row)
				b.rows = append(b.rows, r)
				row++
			}
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("after %d rows: %w", row, err)
		}
		if len(b.rows) > 0 {
			for _, to := range []chan<- *batch{order, work} {
				select {
				case to <- b:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}
		if err != nil {
			return nil
		}
	}
}

// complete makes it safe to send a row again: rows that fail where a user is there need an
// id for that.
func (i *fileImport) complete(user *userv1.CreateUserRequest, row int) {
	if user == nil {
		return
	}
	user.OnConflict = i.conflict
	if user.GetUserId() == "" && i.conflict == userv1.OnConflict_ON_CONFLICT_FAIL {
		user.UserId = i.state.id(row)
	}
}

// sendAll sends one batch after the other.
func (i *fileImport) sendAll(ctx context.Context, work <-chan *batch) error {
	for {
		b, err := next(ctx, work)
		if b == nil {
			return err
		}
		b.done <- i.send(ctx, b)
	}
}

// next is the next batch, or nil where there is none, or where ctx has ended.
func next(ctx context.Context, batches <-chan *batch) (*batch, error) {
	select {
	case b := <-batches:
		return b, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// send has a batch stored, again while the server is away.
func (i *fileImport) send(ctx context.Context, b *batch) result {
	if i.flags.dryRun {
		return check(ctx, b)
	}
	var since time.Time // Since when the server is away.
	for wait := firstWait; ; wait = min(2*wait, mostWait) {
		r := i.sendOnce(ctx, b)
		if since.IsZero() {
			since = time.Now()
		}
		if r.err == nil || ctx.Err() != nil || !passing(r.err) || time.Since(since) > retryFor {
			i.waiting.Store(false)
			return r
		}
		if i.waiting.CompareAndSwap(false, true) {
			i.shown.say(fmt.Sprintf("%v; trying again for %v", i.flags.explain(ctx, r.err), retryFor))
		}
		if err := pause(ctx, wait); err != nil {
			return result{err: err}
		}
	}
}

func (i *fileImport) sendOnce(ctx context.Context, b *batch) result {
	r := result{failed: make(map[int]string)}
	stream, err := i.users.BatchCreateUsers(ctx)
	if err != nil {
		return result{err: err}
	}
	var sent []int // Rows, in the order of the stream.
	var unsent error
	for n, row := range b.rows {
		if row.User == nil {
			r.failed[n] = row.Why
			continue
		}
		if unsent = stream.Send(row.User); unsent != nil {
			break // The answer has why, most often.
		}
		sent = append(sent, n)
	}
	if r.response, r.err = stream.CloseAndReceive(); r.err == nil {
		r.err = unsent
	}
	if r.err != nil {
		return r
	}
	for _, failure := range r.response.GetFailures() {
		r.failed[sent[failure.GetIndex()]] = failure.GetMessage()
	}
	return r
}

// check is what the rules of the schema say to a batch.
func check(ctx context.Context, b *batch) result {
	r := result{response: new(userv1.BatchCreateUsersResponse), failed: make(map[int]string)}
	for n, row := range b.rows {
		why := row.Why
		if row.User != nil {
			why = faults(ctx, protovalidate.Validate(row.User))
		}
		if why != "" {
			r.failed[n] = why
		}
	}
	return r
}

// faults is what protovalidate finds, as the server says it.
func faults(ctx context.Context, err error) string {
	var invalid *protovalidate.ValidationError
	if !errors.As(err, &invalid) {
		return ""
	}
	return failure.InvalidRow(ctx, invalid).Message()
}

// count takes what became of the batches in the order of the file.
func (i *fileImport) count(ctx context.Context, order <-chan *batch) error {
	for {
		b, err := next(ctx, order)
		if b == nil {
			return err
		}
		var r result
		select {
		case r = <-b.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if r.err != nil {
			return r.err
		}
		if err := i.countBatch(b, r); err != nil {
			return err
		}
		i.shown.add(len(b.rows))
	}
}

func (i *fileImport) countBatch(b *batch, r result) error {
	for n, row := range b.rows {
		row.AddTo(i.sum)
		if why, failed := r.failed[n]; failed {
			if err := i.fail(row, why); err != nil {
				return err
			}
		}
	}
	s := &i.state
	s.Rows += len(b.rows)
	s.Sum = i.rowsSum()
	s.Created += int(r.response.GetSuccessCount())
	s.Updated += int(r.response.GetUpdatedCount())
	s.Skipped += int(r.response.GetSkippedCount())
	s.Failed += len(r.failed)
	if i.failures != nil {
		info, err := i.failures.Stat()
		if err != nil {
			return err
		}
		s.Failures = info.Size()
	}
	return i.save()
}

// result is what became of the rows, for people.
func (i *fileImport) result(dryRun bool) string {
	s := i.state
	text := fmt.Sprintf("%d rows: %d created, %d updated, %d as they were, %d failed", s.Rows, s.Created, s.Updated, s.Skipped, s.Failed)
	if dryRun {
		text = fmt.Sprintf("%d rows, %d of them not valid; nothing was sent", s.Rows, s.Failed)
	}
	if s.Failed > 0 {
		text += "; see " + i.failuresName
	}
	return text
}

func (i *fileImport) close() error {
	i.shown.end()
	if i.failures != nil {
		return errors.Join(i.file.Close(), i.failures.Close())
	}
	return i.file.Close()
}
