package sqlite_test

import (
	"path/filepath"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"testing"

	"github.com/example/userd/store"
	"github.com/example/userd/store/sqlite"
)

// TestListsLeaveNoDeepStacks has callers list users, and wait then, as those do whose own callers
// do not read. What SQLite needs of a stack, twice the limit here and more, is not theirs.
func TestListsLeaveNoDeepStacks(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // It makes stacks smaller, if little of them is used.
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "users.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	members, _ := manyMembers()
	importAll(t, s, members[:100])
	const callers, limit = 200, 8 << 10
	var waiting sync.WaitGroup
	defer waiting.Wait()
	end := make(chan struct{})
	defer close(end)
	before := stackBytes()
	for range callers {
		listed := make(chan error)
		waiting.Go(func() {
			_, err := s.List(t.Context(), store.Query{Limit: 50})
			listed <- err
			<-end
		})
		if err := <-listed; err != nil {
			t.Fatal(err)
		}
	}
	if each := (stackBytes() - before) / callers; each > limit {
		t.Errorf("each caller keeps a stack of %d bytes", each)
	}
}

// stackBytes is how much memory all stacks take, in bytes.
func stackBytes() int64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/stacks:bytes"}}
	metrics.Read(sample)
	return int64(sample[0].Value.Uint64())
}
