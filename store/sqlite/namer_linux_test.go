package sqlite_test

import (
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/example/userd/store/sqlite"
)

// TestTheIndexOfNamesLeavesACoreToCalls measures the processor's time that the index takes
// while it has much to do, on one core.
func TestTheIndexOfNamesLeavesACoreToCalls(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "users.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	more, _ := manyMembers() // So many that the index is not done with them when the time is over.
	for i := range more {
		more[i].Email = "more" + more[i].Email
	}
	members, rare := manyMembers()
	importAll(t, s, more)
	importAll(t, s, members)

	began, before := time.Now(), processorTime(t)
	<-time.After(400 * time.Millisecond)
	took, wall := processorTime(t)-before, time.Since(began)
	if _, whole := named(t, s, rare.DisplayName); whole {
		t.Fatal("the index had too little to do")
	}
	if took > wall*2/5 {
		t.Errorf("the index of names took %v of the processor within %v, want at most two fifths", took, wall)
	}
}

// processorTime is how long this process has run.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
