package sqlite

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/example/userd/store"
)

// Small writes wait for no more than a small step of a prune.
func TestPruneGoesInSmallStepsBesideSmallWrites(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), Config{Path: filepath.Join(t.TempDir(), "userd.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	const steps, rows = 4, 60
	users := make([]store.NewUser, steps*rows)
	for n := range users {
		users[n] = store.NewUser{ID: uuid.NewString(), DisplayName: "Ada", Email: fmt.Sprintf("ada%d@example.com", n)}
	}
	if _, err := s.Import(t.Context(), users); err != nil {
		t.Fatal(err)
	}
	commits, committed := 0, s.writer.committed
	s.writer.committed = func() error { commits++; return committed() }
	s.writer.small.Store(smallImports)
	s.writer.piece.Store(rows)
	pruned, err := s.Prune(t.Context(), time.Now().Add(time.Hour))
	if err != nil || pruned != steps*rows {
		t.Errorf("%d are pruned, error %v", pruned, err)
	}
	if commits < steps {
		t.Errorf("they were pruned in %d steps, want %d", commits, steps)
	}
}
