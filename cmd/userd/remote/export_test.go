package remote

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/example/userd/cmd/userd/rows"
	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/server/failure"
)

// exportServer has so many users.
type exportServer struct {
	userv1connect.UnimplementedUserServiceHandler
	users  int
	end    error       // With which lists end.
	before func(n int) // Called before a list sends its user n, from 0.
}

func (s *exportServer) ListUsers(ctx context.Context, _ *userv1.ListUsersRequest, stream userv1connect.UserServiceListUsersServerStream) error {
	for n := range s.users {
		s.before(n)
		if err := stream.Send(&userv1.User{Id: strings.Repeat("7", 36), Email: "ada@example.com", DisplayName: "Ada"}); err != nil {
			return err
		}
	}
	if s.end != nil {
		return failure.ForCaller(ctx, s.end)
	}
	return nil
}

// Two exports at a time to one file leave what one of them has written.
func TestExportsAtOnceToOneFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "users.jsonl")
	var both sync.WaitGroup
	both.Add(2)
	begun := func(n int) {
		if n == 1 { // Each has opened its file, and has a user to write.
			both.Done()
			both.Wait()
		}
	}
	server := serve(t, &exportServer{users: 100, before: begun})
	ended := make(chan error, 2)
	for range 2 {
		go func() { ended <- run(t.Context(), exportCommand(), io.Discard, "--server", server.URL, path) }()
	}
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if text := read(t, path); strings.Count(text, "ada@example.com") != 100 || strings.Count(text, "\n") != 100 {
		t.Errorf("the file has %d bytes of other users", len(text))
	}
	if left, err := filepath.Glob(path + ".*"); err != nil || len(left) > 0 {
		t.Errorf("left are %q, error %v", left, err)
	}
}

// What an export has left that was killed the next one to that file removes; it leaves what is not
// of an export, and what one that runs still writes.
func TestExportRemovesWhatAKilledOneLeft(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "users.jsonl")
	kept := []string{"other.jsonl.123.part", "users.jsonl.gz.123.part", "users.jsonl.mine.part", "users.jsonl.part"}
	for _, name := range append(kept, "users.jsonl.123.part", "users.jsonl.4567.part") {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	export := func() error {
		server := serve(t, &exportServer{users: 1, before: func(int) {}})
		return run(t.Context(), exportCommand(), io.Discard, "--server", server.URL, path)
	}
	slow := serve(t, &exportServer{users: 2, before: func(n int) {
		if n == 1 { // It has opened its file by now.
			if err := export(); err != nil {
				t.Error(err)
			}
		}
	}})
	if err := run(t.Context(), exportCommand(), io.Discard, "--server", slow.URL, path); err != nil {
		t.Error(err)
	}
	if text := read(t, path); strings.Count(text, "\n") != 2 {
		t.Errorf("the export that ended last has left %q", text)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, entry := range entries {
		left = append(left, entry.Name())
	}
	if want := append(slices.Clone(kept), "users.jsonl"); !slices.Equal(left, slices.Sorted(slices.Values(want))) {
		t.Errorf("there are %q, not %q", left, want)
	}
}

// Exports that begin while others look for what was left lose nothing.
func TestPartsAreNotTakenForLeft(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "users.jsonl")
	var exports sync.WaitGroup
	for range 8 {
		exports.Go(func() {
			for range 100 {
				part, err := createPart(path)
				if err != nil {
					t.Error(err)
					return
				}
				if err := become(part, path); err != nil {
					t.Error(err)
				}
			}
		})
	}
	exports.Wait()
	if left, err := filepath.Glob(path + ".*"); err != nil || len(left) > 0 {
		t.Errorf("left are %q, error %v", left, err)
	}
}

// Who reads what a failed export has written, as from a pipe, can tell that it is not whole.
func TestAnExportThatFailsEndsNothing(t *testing.T) {
	t.Parallel()
	server := serve(t, &exportServer{users: 10, end: errors.New("a defect"), before: func(int) {}})
	users, err := (&target{server: server.URL}).users()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"users.jsonl.gz", "users.csv.zst"} {
		var written bytes.Buffer
		exportErr := exportTo(t.Context(), users, rows.FormatOf(name), name, &written)
		in, readErr := rows.Decompress(name, &written)
		if readErr == nil {
			_, readErr = io.Copy(io.Discard, in)
		}
		if exportErr == nil || readErr == nil {
			t.Errorf("%s: the export ends with %v, and is read with %v", name, exportErr, readErr)
		}
	}
}
