package remote

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/example/userd/cmd/userd/cli"
	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
)

// importServer takes imports, and keeps what came.
type importServer struct {
	userv1connect.UnimplementedUserServiceHandler
	url string

	mu       sync.Mutex
	ids      map[string]string // By email: the id that came first.
	streams  int
	received func(ctx context.Context, stream int) // Called when a stream has come whole, before its answer.
}

func startImportServer(t *testing.T) *importServer {
	t.Helper()
	s := &importServer{ids: make(map[string]string), received: func(context.Context, int) {}}
	s.url = serve(t, s).URL
	return s
}

// BatchCreateUsers has rows fail whose email another id has, and those without a name.
func (s *importServer) BatchCreateUsers(ctx context.Context, stream userv1connect.UserServiceBatchCreateUsersServerStream) (*userv1.BatchCreateUsersResponse, error) {
	response := new(userv1.BatchCreateUsersResponse)
	for index := int32(0); ; index++ {
		row, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if why := s.add(row); why != "" {
			response.FailureCount++
			response.Failures = append(response.Failures, &userv1.BatchCreateFailure{Index: index, Message: why})
			continue
		}
		response.SuccessCount++
	}
	s.mu.Lock()
	s.streams++
	number, received := s.streams, s.received
	s.mu.Unlock()
	received(ctx, number)
	return response, ctx.Err()
}

func (s *importServer) add(row *userv1.CreateUserRequest) (why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, known := s.ids[row.GetEmail()]
	switch {
	case row.GetDisplayName() == "":
		return "it has no name"
	case known && id != row.GetUserId():
		return "another user has this address"
	}
	s.ids[row.GetEmail()] = row.GetUserId()
	return ""
}

// interruptAt is userd import, interrupted when so many streams have come, before it knows of the
// last.
func (s *importServer) interruptAt(t *testing.T, stream int, args ...string) {
	t.Helper()
	ctx, interrupt := context.WithCancel(t.Context())
	s.mu.Lock()
	s.received = func(ctx context.Context, number int) {
		if number == stream {
			interrupt()
			<-ctx.Done()
		}
	}
	s.mu.Unlock()
	if _, err := s.runImport(ctx, args...); cli.Code(err) != cli.Interrupt {
		t.Fatalf("it ends with %v", err)
	}
}

// runImport is userd import.
func (s *importServer) runImport(ctx context.Context, args ...string) (out string, err error) {
	var text bytes.Buffer
	err = run(ctx, importCommand(), &text, append([]string{"--server", s.url, "--streams", "1"}, args...)...)
	return text.String(), err
}

// writeRows makes a CSV of users, of whom every hundredth has no name.
func writeRows(t *testing.T, path string, count int) {
	t.Helper()
	var text strings.Builder
	text.WriteString("email,display_name\n")
	for n := range count {
		name := "Somebody"
		if n%100 == 99 {
			name = ""
		}
		fmt.Fprintf(&text, "user%d@example.com,%s\n", n, name)
	}
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// An import that ends before it knows of any row has stored some all the same.
func TestInterruptedBeforeAnythingIsCounted(t *testing.T) {
	t.Parallel()
	for _, again := range [][]string{nil, {"--resume"}} {
		s := startImportServer(t)
		file := filepath.Join(t.TempDir(), "users.csv")
		writeRows(t, file, 50)
		s.interruptAt(t, 1, file)
		out, err := s.runImport(t.Context(), append(again, file)...)
		if err != nil || !strings.Contains(out, "50 rows: 50 created, 0 updated, 0 as they were, 0 failed") {
			t.Errorf("%q: %serror %v", again, out, err)
		}
		if _, err := os.Stat(file + ".progress"); err == nil {
			t.Error("an import that is over looks as if it were not")
		}
	}
}

// Where nothing was counted another file of the same name is another import.
func TestAnotherFileIsAnotherImport(t *testing.T) {
	t.Parallel()
	s := startImportServer(t)
	file := filepath.Join(t.TempDir(), "users.csv")
	writeRows(t, file, 50)
	s.interruptAt(t, 1, file)
	text := read(t, file)
	if err := os.WriteFile(file, []byte(strings.Replace(text, "user0@", "ada@", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.runImport(t.Context(), "--resume", file); cli.Code(err) != cli.WrongUse {
		t.Errorf("it goes on with another file: %v", err)
	}
	out, err := s.runImport(t.Context(), file)
	if cli.Code(err) != cli.Failure || !strings.Contains(out, "50 rows: 1 created, 0 updated, 0 as they were, 49 failed") {
		t.Errorf("%serror %v", out, err)
	}
}

// What is done on one server is not on another.
func TestAnotherServerGetsAllRows(t *testing.T) {
	t.Parallel()
	first, second := startImportServer(t), startImportServer(t)
	file := filepath.Join(t.TempDir(), "users.csv")
	writeRows(t, file, 2_500)
	first.interruptAt(t, 2, file)
	if _, err := second.runImport(t.Context(), file); cli.Code(err) != cli.WrongUse || !strings.Contains(err.Error(), first.url) {
		t.Errorf("it ends with %v", err)
	}
	if out, err := second.runImport(t.Context(), "--resume", file); cli.Code(err) != cli.WrongUse || second.streams > 0 {
		t.Errorf("it leaves out rows: %serror %v", out, err)
	}
	if out, err := first.runImport(t.Context(), "--resume", "--server", first.url+"/", file); !strings.Contains(out, "2500 rows: 2475 created") {
		t.Errorf("%serror %v", out, err)
	}
}

// Which rows are done, and on which server, cannot be told from what 0.1.0 has left.
func TestAnOlderImportIsNotGoneOnWith(t *testing.T) {
	t.Parallel()
	const state = `{"format":"csv","on_conflict":"fail","size":64,"ids":"8df19287-ded5-401b-be85-dee787660051","rows":1000,` +
		`"created":990,"updated":0,"skipped":0,"failed":10,"failures":300}`
	s := startImportServer(t)
	file := filepath.Join(t.TempDir(), "users.csv")
	writeRows(t, file, 2_500)
	if err := os.WriteFile(file+".progress", []byte(state), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, again := range [][]string{nil, {"--resume"}} {
		_, err := s.runImport(t.Context(), append(again, file)...)
		if cli.Code(err) != cli.WrongUse || !strings.Contains(err.Error(), "remove "+file+".progress and begin anew with --on-conflict skip") {
			t.Errorf("%q: it ends with %v", again, err)
		}
	}
	if read(t, file+".progress") != state || s.streams > 0 {
		t.Error("it is begun anew")
	}
}

// A file that cannot be read to its end can be mended behind the rows that are done, and gone
// on with.
func TestMendedFileIsGoneOnWith(t *testing.T) {
	t.Parallel()
	s := startImportServer(t)
	file := filepath.Join(t.TempDir(), "users.csv")
	writeRows(t, file, 2_500)
	whole := read(t, file)
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(strings.Replace(whole, "user1700@example.com,Somebody", `user1700@example.com,Some "body"`, 1))
	if _, err := s.runImport(t.Context(), file); cli.Code(err) != cli.Failure || !strings.Contains(err.Error(), "1000 rows are done: go on with --resume") {
		t.Fatalf("it ends with %v", err)
	}
	write(strings.Replace(whole, "user7@example.com", "user7000@example.com", 1))
	if _, err := s.runImport(t.Context(), "--resume", file); cli.Code(err) != cli.WrongUse {
		t.Errorf("with other rows before: %v", err)
	}
	write(strings.Replace(whole, "user1700@example.com,Somebody", "user1700@example.com,\"Some \"\"body\"\"\"", 1))
	out, err := s.runImport(t.Context(), "--resume", file)
	if cli.Code(err) != cli.Failure || !strings.Contains(out, "2500 rows: 2475 created, 0 updated, 0 as they were, 25 failed") || len(s.ids) != 2_475 {
		t.Errorf("%serror %v, %d users", out, err, len(s.ids))
	}
}

// Where failed rows cannot be kept no row is sent: those that fail would be lost.
func TestFailuresThatCannotBeKept(t *testing.T) {
	t.Parallel()
	s := startImportServer(t)
	dir := t.TempDir()
	file, failures := filepath.Join(dir, "users.csv"), filepath.Join(dir, "missing", "failed.csv")
	writeRows(t, file, 50)
	if out, err := s.runImport(t.Context(), "--failures", failures, file); cli.Code(err) != cli.WrongUse || !strings.Contains(err.Error(), failures) || s.streams > 0 {
		t.Errorf("%serror %v, %d streams", out, err, s.streams)
	}
	failures = filepath.Join(dir, "failed.csv")
	if out, err := s.runImport(t.Context(), "--dry-run", "--failures", failures, writeValid(t, dir)); err != nil {
		t.Errorf("%serror %v", out, err)
	}
	if _, err := os.Stat(failures); err == nil {
		t.Error("there is a file of failed rows, and none has failed")
	}
	if err := os.Symlink("elsewhere.csv", failures); err != nil {
		t.Fatal(err)
	}
	if out, err := s.runImport(t.Context(), "--failures", failures, writeValid(t, dir)); err != nil {
		t.Errorf("%serror %v", out, err)
	}
	if _, err := os.Lstat(failures); err != nil {
		t.Errorf("the link for failed rows: %v", err)
	}
}

// An import that cannot write beside its file sends nothing, and says what to do.
func TestFolderThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		blocked string // Is a folder, which nobody can write, and no file.
		flags   []string
		advice  string
	}{
		"how far it has come":     {"users.csv.progress.part", nil, "from standard input, with --format csv"},
		"failed rows":             {"users.failed.csv", nil, "name another file with --failures"},
		"rows that are not valid": {"users.invalid.csv", []string{"--dry-run"}, "name another file with --failures"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startImportServer(t)
			file := filepath.Join(t.TempDir(), "users.csv")
			writeRows(t, file, 150)
			blocked := filepath.Join(filepath.Dir(file), test.blocked)
			if err := os.Mkdir(blocked, 0o700); err != nil {
				t.Fatal(err)
			}
			_, err := s.runImport(t.Context(), append(test.flags, file)...)
			if cli.Code(err) != cli.WrongUse || !strings.Contains(err.Error(), blocked) || !strings.Contains(err.Error(), test.advice) || s.streams > 0 {
				t.Errorf("it ends with %v, %d streams", err, s.streams)
			}
		})
	}
}

// writeUsers is writeRows of users whose addresses begin with a word.
func writeUsers(t *testing.T, path, word string, count int) {
	t.Helper()
	writeRows(t, path, count)
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(read(t, path), "user", word)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// An import of several files goes on in the one where it was stopped: those before it are done,
// and those behind it begin.
func TestSeveralFilesAreGoneOnWith(t *testing.T) {
	t.Parallel()
	s := startImportServer(t)
	dir := t.TempDir()
	var files []string
	for name, count := range map[string]int{"a": 150, "b": 2_500, "c": 50} {
		writeUsers(t, filepath.Join(dir, name+".csv"), name, count)
	}
	for _, name := range []string{"a", "b", "c"} {
		files = append(files, filepath.Join(dir, name+".csv"))
	}
	s.interruptAt(t, 3, files...) // The second of b.
	failed := read(t, filepath.Join(dir, "a.failed.csv"))
	if _, err := s.runImport(t.Context(), files...); cli.Code(err) != cli.WrongUse || !strings.Contains(err.Error(), "--resume") || s.streams != 3 {
		t.Errorf("without --resume it ends with %v, %d streams", err, s.streams)
	}
	if _, err := s.runImport(t.Context(), append([]string{"--resume", files[2]}, files[:2]...)...); cli.Code(err) != cli.WrongUse || s.streams != 3 {
		t.Errorf("it begins a file that may be done: %v, %d streams", err, s.streams)
	}
	out, err := s.runImport(t.Context(), append([]string{"--resume"}, files...)...)
	for _, want := range []string{
		"a.csv: 150 rows: 149 created, 0 updated, 0 as they were, 1 failed",
		"b.csv: 2500 rows: 2475 created, 0 updated, 0 as they were, 25 failed",
		"c.csv: 50 rows: 50 created, 0 updated, 0 as they were, 0 failed",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %s:\n%s", want, out)
		}
	}
	if cli.Code(err) != cli.Failure || !strings.Contains(err.Error(), "26 rows have failed") || s.streams != 3+2+1 {
		t.Errorf("it ends with %v, %d streams", err, s.streams)
	}
	if read(t, filepath.Join(dir, "a.failed.csv")) != failed {
		t.Error("the failed rows of a file that is done are others")
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*.progress")); err != nil || len(left) > 0 {
		t.Errorf("left are %q, error %v", left, err)
	}
	if _, err := s.runImport(t.Context(), append([]string{"--resume"}, files...)...); cli.Code(err) != cli.WrongUse || !strings.Contains(err.Error(), "nothing to resume") {
		t.Errorf("an import that is over goes on with %v", err)
	}
}

// A name that is wrong is found before a row of another file is sent.
func TestMissingFileIsFoundFirst(t *testing.T) {
	t.Parallel()
	s := startImportServer(t)
	dir := t.TempDir()
	missing := filepath.Join(dir, "missing.csv")
	if _, err := s.runImport(t.Context(), writeValid(t, dir), missing); cli.Code(err) != cli.WrongUse || !strings.Contains(err.Error(), missing) || s.streams > 0 {
		t.Errorf("it ends with %v, %d streams", err, s.streams)
	}
}

// writeValid makes a CSV of one user, and returns its name.
func writeValid(t *testing.T, dir string) string {
	t.Helper()
	file := filepath.Join(dir, "valid.csv")
	if err := os.WriteFile(file, []byte("email,display_name\nada@example.com,Ada\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

var failedRow = regexp.MustCompile(`^it has no name,user\d+@example\.com,\n?$`)

// Failed rows of an import that goes on stand behind those of before, in one file, or in a new
// one where that was taken away.
func TestFailuresOfAnInterruptedImport(t *testing.T) {
	t.Parallel()
	const before, after, header = 10, 15, 1 // The first batch has 1,000 rows, the others 1,500.
	for name, test := range map[string]struct {
		first, again []string
		meanwhile    func(failures string) error
		failures     string
		want         int
	}{
		"beside the input":  {failures: "users.failed.csv", want: header + before + after},
		"elsewhere":         {first: []string{"other.csv"}, failures: "other.csv", want: header + before + after},
		"elsewhere by name": {first: []string{"other.csv"}, again: []string{"other.csv"}, failures: "other.csv", want: header + before + after},
		"by name":           {again: []string{"users.failed.csv"}, failures: "users.failed.csv", want: header + before + after},
		"taken away":        {meanwhile: os.Remove, failures: "users.failed.csv", want: header + after},
		"taken away, by name": {
			first: []string{"other.csv"}, again: []string{"other.csv"}, meanwhile: os.Remove, failures: "other.csv", want: header + after,
		},
		"begun and broken off": {
			meanwhile: func(failures string) error {
				file, err := os.OpenFile(failures, os.O_APPEND|os.O_WRONLY, 0)
				if err != nil {
					return err
				}
				_, err = file.WriteString("user1099@exa")
				return errors.Join(err, file.Close())
			},
			failures: "users.failed.csv", want: header + before + after,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startImportServer(t)
			dir := t.TempDir()
			file := filepath.Join(dir, "users.csv")
			writeRows(t, file, 2_500)
			args := func(flags []string, failures []string) []string {
				for _, name := range failures {
					flags = append(flags, "--failures", filepath.Join(dir, name))
				}
				return append(flags, file)
			}
			s.interruptAt(t, 2, args(nil, test.first)...)
			failures := filepath.Join(dir, test.failures)
			if test.meanwhile != nil {
				if err := test.meanwhile(failures); err != nil {
					t.Fatal(err)
				}
			}
			out, err := s.runImport(t.Context(), args([]string{"--resume"}, test.again)...)
			if cli.Code(err) != cli.Failure || !strings.Contains(out, "25 failed; see "+failures) {
				t.Errorf("%serror %v", out, err)
			}
			text := read(t, failures)
			lines := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
			if len(lines) != test.want || lines[0] != "failure,email,display_name\n" || strings.Contains(text, "\x00") {
				t.Errorf("%d lines, want %d:\n%.200q", len(lines), test.want, text)
			}
			for _, line := range lines[1:] {
				if !failedRow.MatchString(line) {
					t.Errorf("a line is %q", line)
				}
			}
		})
	}
}

// An import that goes on has one file of failed rows.
func TestFailuresOfOneImportAreInOneFile(t *testing.T) {
	t.Parallel()
	s := startImportServer(t)
	file := filepath.Join(t.TempDir(), "users.csv")
	writeRows(t, file, 2_500)
	s.interruptAt(t, 2, file)
	if _, err := s.runImport(t.Context(), "--resume", "--failures", file+".other", file); cli.Code(err) != cli.WrongUse {
		t.Errorf("it ends with %v", err)
	}
}

// A look at a file leaves the failed rows of imports where they are: of one that goes on, and of
// one that is over.
func TestDryRunLeavesFailures(t *testing.T) {
	t.Parallel()
	s := startImportServer(t)
	file := filepath.Join(t.TempDir(), "users.csv")
	failures := strings.TrimSuffix(file, ".csv") + ".failed.csv"
	writeRows(t, file, 2_500)
	s.interruptAt(t, 2, file)
	before, progress := read(t, failures), read(t, file+".progress")
	dryRun := func(want int, args ...string) {
		t.Helper()
		out, err := s.runImport(t.Context(), append([]string{"--dry-run"}, args...)...)
		if cli.Code(err) != want {
			t.Errorf("%q: %serror %v", args, out, err)
		}
		if read(t, failures) != before {
			t.Errorf("%q: the failed rows are others", args)
		}
	}
	dryRun(cli.Failure, file)
	if lines := strings.Count(read(t, strings.TrimSuffix(file, ".csv")+".invalid.csv"), "\n"); lines != 1+25 {
		t.Errorf("%d lines tell of what is not valid", lines)
	}
	dryRun(cli.WrongUse, "--failures", failures, file)
	dryRun(cli.WrongUse, "--failures", filepath.Join(filepath.Dir(file), ".", "users.failed.csv"), "--resume", file)
	if read(t, file+".progress") != progress {
		t.Error("what is known of the import is something else")
	}
	if out, err := s.runImport(t.Context(), "--resume", file); cli.Code(err) != cli.Failure || !strings.Contains(out, "25 failed; see "+failures) {
		t.Errorf("%serror %v", out, err)
	}
	before = read(t, failures)
	dryRun(cli.Failure, file)
}

// Failed rows never go into a file that is to be read, nor over those of another file.
func TestFailuresOverwriteNothing(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		make func(dir string) error
		args []string
	}{
		"the same name":      {args: []string{"--failures", "DIR/users.csv", "DIR/users.csv"}},
		"another name":       {args: []string{"--failures", "DIR/../DIRNAME/users.csv", "DIR/users.csv"}},
		"a link":             {func(dir string) error { return os.Symlink("users.csv", filepath.Join(dir, "link")) }, []string{"--failures", "DIR/link", "DIR/users.csv"}},
		"read later":         {args: []string{"DIR/users.csv", "DIR/users.failed.csv"}},
		"read before":        {args: []string{"DIR/users.failed.csv", "DIR/users.csv"}},
		"those of two files": {args: []string{"--format", "csv", "DIR/users.csv", "DIR/users"}},
		"one file twice":     {args: []string{"DIR/users.csv", "DIR/users.csv"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startImportServer(t)
			dir := t.TempDir()
			for _, name := range []string{"users.csv", "users.failed.csv"} {
				writeRows(t, filepath.Join(dir, name), 100)
			}
			if test.make != nil {
				if err := test.make(dir); err != nil {
					t.Fatal(err)
				}
			}
			var args []string
			for _, arg := range test.args {
				args = append(args, strings.NewReplacer("DIRNAME", filepath.Base(dir), "DIR", dir).Replace(arg))
			}
			want := read(t, filepath.Join(dir, "users.csv"))
			if _, err := s.runImport(t.Context(), args...); cli.Code(err) != cli.WrongUse {
				t.Errorf("it ends with %v", err)
			}
			for _, name := range []string{"users.csv", "users.failed.csv"} {
				if read(t, filepath.Join(dir, name)) != want {
					t.Errorf("%s is another one", name)
				}
			}
			if s.streams > 0 {
				t.Error("rows were sent")
			}
		})
	}
}

// Files whose names differ in their endings alone have a file of failed rows each.
func TestFailuresOfOtherEndings(t *testing.T) {
	t.Parallel()
	s := startImportServer(t)
	file := filepath.Join(t.TempDir(), "users.csv")
	writeRows(t, file, 100)
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, err := io.WriteString(w, read(t, file))
	if err := errors.Join(err, w.Close(), os.WriteFile(file+".gz", packed.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.runImport(t.Context(), file, file+".gz"); cli.Code(err) != cli.Failure {
		t.Errorf("it ends with %v", err)
	}
	for failures, want := range map[string]int{
		strings.TrimSuffix(file, ".csv") + ".failed.csv": 1 + 1,
		file + ".gz.failed.csv":                          1 + 100, // Its users are there already.
	} {
		if lines := strings.Count(read(t, failures), "\n"); lines != want {
			t.Errorf("%s has %d lines", failures, lines)
		}
	}
}

// Where no userd is, an import says so at once: only a server that is away is waited for.
func TestImportNeedsUserd(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]http.HandlerFunc{
		"a page":            func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") },
		"no such page":      http.NotFound,
		"a page of a proxy": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			var calls atomic.Int32
			server := serveHTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if calls.Add(1) > 1 {
					interrupt()
				}
				handler(w, r)
			}))
			file := filepath.Join(t.TempDir(), "users.csv")
			writeRows(t, file, 1)
			if err := run(ctx, importCommand(), io.Discard, "--server", server.URL, file); cli.Code(err) != cli.Failure || calls.Load() != 1 {
				t.Errorf("it ends with %v, after %d calls", err, calls.Load())
			}
		})
	}
}

// Nor is who has another certificate waited for, or none.
func TestImportNeedsTheRightCertificate(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "users.csv")
	writeRows(t, file, 1)
	for url, why := range map[string]string{
		strings.Replace(server.URL, "127.0.0.1", "localhost", 1): "has a certificate that is not good for it: tls: failed to verify certificate: x509: certificate is valid for",
		strings.Replace(server.URL, "https:", "http:", 1):        "speaks TLS: begin --server with https://",
		strings.Replace(plain.URL, "http:", "https:", 1):         "does not speak TLS: begin --server with http://",
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // It waits for two.
		defer cancel()
		if err := run(ctx, importCommand(), io.Discard, "--server", url, "--tls-ca", ca, file); cli.Code(err) != cli.Failure || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: it ends with %v", url, err)
		}
	}
}
