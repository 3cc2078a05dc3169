package users

import (
	"context"
	"errors"
	"io"
	"sync"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/server/audit"
	"github.com/example/userd/server/failure"
	"github.com/example/userd/server/wire"
	"github.com/example/userd/store"
	"github.com/example/userd/store/guard"
)

const (
	// minImportChunk is the number of rows of an import that are worth a commit.
	minImportChunk = 1_000
	// maxImportChunk is the most rows that are committed together. A chunk grows
	// up to it while the one before is being committed: the slower the commits
	// are, the fewer are needed. A store may have fewer rows at a time.
	maxImportChunk = 5_000
	// maxListedFailures is the most failures that a response lists.
	maxListedFailures = 1_000
	// maxSummaryFailures is the most failures that the detail of an error lists, and
	// maxSummaryBytes the size of those. Over gRPC a detail is a trailer, and peers take
	// 8 KiB of those.
	maxSummaryFailures, maxSummaryBytes = 10, 2 << 10
)

func (u *Service) batchCreateUsers(ctx context.Context, stream connect.ServerStream) error {
	ctx, admitted, err := u.Admit(ctx)
	if err != nil {
		return failure.WithDetail(failure.ForCaller(ctx, err), new(userv1.BatchCreateUsersResponse))
	}
	defer admitted.Leave()
	imported := newImporter(ctx, u.Store, admitted, u.Audit)
	err = receiveRows(ctx, stream, imported)
	if storeErr := imported.finish(); storeErr != nil {
		err = storeErr
	}
	if err != nil {
		return failure.WithDetail(failure.ForCaller(ctx, err), imported.summary())
	}
	return stream.Send(imported.response)
}

// receiveRows hands the rows of a stream to an importer, until the stream ends or
// the importer has failed, which it says when it finishes.
func receiveRows(ctx context.Context, stream connect.ServerStream, imported *importer) error {
	var req userv1.CreateUserRequest
	for rows, running := 0, true; running; rows++ {
		req = userv1.CreateUserRequest{} // What was in it has been handed on.
		err := stream.Receive(&req)
		invalid := invalidMessage(err)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && invalid == nil:
			return err
		case rows == failure.MaxImportRows:
			return failure.ErrTooManyRows
		case invalid != nil:
			running = imported.reject(failure.InvalidRow(ctx, invalid))
		default:
			running = imported.add(wire.NewUser(&req))
		}
	}
	return nil
}

// importer stores the rows of one stream in order. It commits a chunk while the next
// one is being received, and holds no more than these two.
type importer struct {
	store    store.Store
	admitted Admitted
	audit    *audit.Log
	chunk    *importChunk
	chunks   chan *importChunk
	ended    chan struct{} // Closed when no more chunks are taken.
	finished chan error
	response *userv1.BatchCreateUsersResponse
	received int32
	rejected int // Rows.
}

// importChunk is consecutive rows of an import: users, and those that cannot be one.
type importChunk struct {
	first    int32 // Index of its first row.
	users    []store.NewUser
	rejected []rejectedRow
}

type rejectedRow struct {
	index int32
	why   failure.Status
}

func (c *importChunk) rows() int { return len(c.users) + len(c.rejected) }

// importChunks are chunks that were committed, and are used again.
var importChunks = sync.Pool{New: func() any { return &importChunk{users: make([]store.NewUser, 0, minImportChunk)} }}

// newImporter starts an importer. Whoever starts it must finish it.
func newImporter(ctx context.Context, s store.Store, admitted Admitted, a *audit.Log) *importer {
	i := &importer{
		store:    s,
		admitted: admitted,
		audit:    a,
		chunks:   make(chan *importChunk),
		ended:    make(chan struct{}),
		finished: make(chan error, 1),
		response: new(userv1.BatchCreateUsersResponse),
	}
	go func() { i.finished <- i.run(ctx) }()
	return i
}

// add takes a user. It returns false when the store has failed.
func (i *importer) add(user store.NewUser) bool {
	chunk := i.current()
	chunk.users = append(chunk.users, user)
	return i.taken()
}

// reject takes a row that is not a valid user. It returns false when the store
// has failed.
func (i *importer) reject(why failure.Status) bool {
	if i.rejected++; i.rejected > maxListedFailures {
		why.Text = "" // Nobody will read it.
	}
	chunk := i.current()
	chunk.rejected = append(chunk.rejected, rejectedRow{i.received, why})
	return i.taken()
}

// current is the chunk that takes the next row.
func (i *importer) current() *importChunk {
	if i.chunk == nil {
		i.chunk = importChunks.Get().(*importChunk)
		i.chunk.first = i.received
	}
	return i.chunk
}

// taken counts a row, and hands over the chunk when it is time.
func (i *importer) taken() bool {
	i.received++
	switch rows := i.chunk.rows(); {
	case rows < minImportChunk:
		return true
	case rows < maxImportChunk:
		select {
		case i.chunks <- i.chunk: // Nothing is being committed.
			i.chunk = nil
		default:
		}
		return true
	}
	return i.flush()
}

// flush hands over what there is. It returns false when the store has failed.
func (i *importer) flush() bool {
	select {
	case i.chunks <- i.chunk:
		i.chunk = nil
		return true
	case <-i.ended:
		return false
	}
}

// finish stores what is left and returns the store's error. The response is then
// complete.
func (i *importer) finish() error {
	if i.chunk != nil {
		i.flush()
	}
	close(i.chunks)
	return <-i.finished
}

func (i *importer) run(ctx context.Context) (err error) {
	defer close(i.ended)
	defer guard.Recover(&err)
	for chunk := range i.chunks {
		if err := i.storeChunk(ctx, chunk); err != nil {
			return err
		}
	}
	return nil
}

// storeChunk stores a chunk and counts its rows.
func (i *importer) storeChunk(ctx context.Context, chunk *importChunk) error {
	for rest := *chunk; rest.rows() > 0; {
		outcomes, err := i.storeSome(ctx, rest.users)
		if err != nil {
			return err
		}
		if i.audit != nil {
			i.audit.Record(ctx, importWrites(outcomes)...)
		}
		i.countAll(ctx, &rest, outcomes)
	}
	clear(chunk.users) // Their texts are not kept.
	clear(chunk.rejected)
	chunk.users, chunk.rejected = chunk.users[:0], chunk.rejected[:0]
	importChunks.Put(chunk)
	return nil
}

// importWrites are what rows have done: those that have left a user alone have done nothing.
func importWrites(outcomes []store.Created) []audit.Write {
	writes := make([]audit.Write, 0, len(outcomes))
	for _, row := range outcomes {
		if row.Err == nil && (row.Changed || !row.Existing) {
			writes = append(writes, audit.Write{UserID: row.ID, Version: row.Version, Changed: row.Changed})
		}
	}
	return writes
}

// storeSome stores the first of users when it is their turn, as many as the store would have
// then.
func (i *importer) storeSome(ctx context.Context, users []store.NewUser) (created []store.Created, err error) {
	if len(users) == 0 {
		return nil, nil
	}
	err = i.admitted.Do(ctx, func(ctx context.Context) error {
		if rows := i.store.Capacity().Rows; rows > 0 {
			users = users[:min(rows, len(users))]
		}
		created, err = i.store.Import(ctx, users)
		return err
	})
	return created, err
}

// countAll counts, in their order, the users that outcomes are of and the rejected rows
// among and after them, and takes them from the chunk.
func (i *importer) countAll(ctx context.Context, chunk *importChunk, outcomes []store.Created) {
	chunk.users = chunk.users[len(outcomes):]
	for ; ; chunk.first++ {
		switch {
		case len(chunk.rejected) > 0 && chunk.rejected[0].index == chunk.first:
			i.fail(chunk.first, chunk.rejected[0].why)
			chunk.rejected = chunk.rejected[1:]
		case len(outcomes) > 0:
			i.count(ctx, chunk.first, outcomes[0])
			outcomes = outcomes[1:]
		default:
			return
		}
	}
}

func (i *importer) count(ctx context.Context, index int32, outcome store.Created) {
	switch {
	case outcome.Err != nil:
		i.fail(index, failure.StatusOf(ctx, outcome.Err))
	case !outcome.Existing:
		i.response.SuccessCount++
		i.response.CreatedUserIds = append(i.response.CreatedUserIds, outcome.ID)
	case outcome.Changed:
		i.response.UpdatedCount++
	default:
		i.response.SkippedCount++
	}
}

func (i *importer) fail(index int32, why failure.Status) {
	i.response.FailureCount++
	if len(i.response.GetFailures()) < maxListedFailures {
		i.response.Failures = append(i.response.Failures, &userv1.BatchCreateFailure{
			Index: index, Reason: why.Reason, Message: why.Message(),
		})
	}
}

// summary is the response without its long lists, for the detail of an error. The
// rows that it counts are the first of the stream.
func (i *importer) summary() *userv1.BatchCreateUsersResponse {
	summary := &userv1.BatchCreateUsersResponse{
		SuccessCount: i.response.GetSuccessCount(),
		FailureCount: i.response.GetFailureCount(),
		SkippedCount: i.response.GetSkippedCount(),
		UpdatedCount: i.response.GetUpdatedCount(),
	}
	size := 0
	for _, failed := range i.response.GetFailures() {
		if size += proto.Size(failed); size > maxSummaryBytes || len(summary.GetFailures()) == maxSummaryFailures {
			break
		}
		summary.Failures = append(summary.Failures, failed)
	}
	return summary
}
