package server

import (
	"context"
	"fmt"
	"runtime/debug"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/store"
)

const (
	// maxImportRows is the most rows of one BatchCreateUsers stream.
	maxImportRows = 100_000
	// minImportChunk is the number of rows of an import that are worth a commit.
	minImportChunk = 1_000
	// maxImportChunk is the most rows that are committed together. A chunk grows
	// up to it while the one before is being committed: the slower the commits
	// are, the fewer are needed.
	maxImportChunk = 5_000
	// maxListedFailures is the most failures that a response lists.
	maxListedFailures = 1_000
	// maxSummaryFailures is the most failures that the detail of an error lists.
	// Over gRPC a detail is a trailer, and peers take 8 KiB of those.
	maxSummaryFailures = 10
)

// importer stores the rows of one stream in order. It commits a chunk while the
// next one is being received, and holds no more than these two.
type importer struct {
	store    store.Store
	chunk    []row
	chunks   chan []row
	ended    chan struct{} // Closed when no more chunks are taken.
	finished chan error
	response *userv1.BatchCreateUsersResponse
	received int32
}

// row is one row of an import: a user, or why it cannot be one.
type row struct {
	index    int32
	user     store.NewUser
	rejected *status
}

// newImporter starts an importer. Whoever starts it must finish it.
func newImporter(ctx context.Context, s store.Store) *importer {
	i := &importer{
		store:    s,
		chunks:   make(chan []row),
		ended:    make(chan struct{}),
		finished: make(chan error, 1),
		response: new(userv1.BatchCreateUsersResponse),
	}
	go func() { i.finished <- i.run(ctx) }()
	return i
}

// add takes a user. It returns false when the store has failed.
func (i *importer) add(user store.NewUser) bool { return i.take(row{user: user}) }

// reject takes a row that is not a valid user. It returns false when the store
// has failed.
func (i *importer) reject(why status) bool { return i.take(row{rejected: &why}) }

func (i *importer) take(r row) bool {
	r.index = i.received
	i.received++
	if i.chunk == nil {
		i.chunk = make([]row, 0, minImportChunk)
	}
	i.chunk = append(i.chunk, r)
	switch {
	case len(i.chunk) < minImportChunk:
		return true
	case len(i.chunk) < maxImportChunk:
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
	i.flush()
	close(i.chunks)
	return <-i.finished
}

func (i *importer) run(ctx context.Context) (err error) {
	defer close(i.ended)
	defer func() { // The interceptor recovers panics of the call's own goroutine only.
		if cause := recover(); cause != nil {
			err = fmt.Errorf("import panicked: %v\n%s", cause, debug.Stack())
		}
	}()
	for chunk := range i.chunks {
		if err := i.commit(ctx, chunk); err != nil {
			return err
		}
	}
	return nil
}

func (i *importer) commit(ctx context.Context, chunk []row) error {
	users := make([]store.NewUser, 0, len(chunk))
	for _, r := range chunk {
		if r.rejected == nil {
			users = append(users, r.user)
		}
	}
	var outcomes []store.Created
	if len(users) > 0 {
		var err error
		if outcomes, err = i.store.Import(ctx, users); err != nil {
			return err
		}
	}
	for _, r := range chunk {
		if r.rejected != nil {
			i.fail(r.index, *r.rejected)
			continue
		}
		i.count(r.index, outcomes[0])
		outcomes = outcomes[1:]
	}
	return nil
}

func (i *importer) count(index int32, outcome store.Created) {
	if outcome.Err != nil {
		i.fail(index, statusOf(outcome.Err))
		return
	}
	i.response.SuccessCount++
	i.response.CreatedUserIds = append(i.response.CreatedUserIds, outcome.ID)
}

func (i *importer) fail(index int32, why status) {
	i.response.FailureCount++
	if len(i.response.GetFailures()) < maxListedFailures {
		i.response.Failures = append(i.response.Failures, &userv1.BatchCreateFailure{
			Index: index, Reason: why.reason, Message: why.message,
		})
	}
}

// summary is the response without its long lists, for the detail of an error. The
// rows that it counts are the first of the stream.
func (i *importer) summary() *userv1.BatchCreateUsersResponse {
	failures := i.response.GetFailures()
	return &userv1.BatchCreateUsersResponse{
		SuccessCount: i.response.GetSuccessCount(),
		FailureCount: i.response.GetFailureCount(),
		Failures:     failures[:min(len(failures), maxSummaryFailures)],
	}
}
