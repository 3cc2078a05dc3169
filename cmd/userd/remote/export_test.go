package remote

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
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
