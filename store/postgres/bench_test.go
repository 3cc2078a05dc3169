package postgres_test

import (
	"bytes"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect/v2/connecthttp"
	"golang.org/x/sync/errgroup"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/server"
	"github.com/example/userd/server/servertest"
	"github.com/example/userd/store"
	"github.com/example/userd/store/postgres"
	"github.com/example/userd/store/storetest"
)

func BenchmarkStore(b *testing.B) {
	storetest.Bench(b, func(b *testing.B) store.Store {
		s, _ := openNew(b)
		return s
	})
}

// The others compare the store with PostgreSQL's own tools, in turn, on one server whose
// commits are on disk. The ratio is the store's rate over the tool's.

const benchClients = 16

// benchServer is a server for one benchmark, and a store on it.
func benchServer(b *testing.B) (*postgres.Store, string) {
	b.Helper()
	server := storetest.NewServer(b, "shared_buffers=512MB", "max_wal_size=8GB")
	url := server.URL("postgres")
	if err := migrate(b.Context(), url); err != nil {
		b.Fatal(err)
	}
	return open(b, url+"&pool_max_conns=16"), url
}

// BenchmarkImportBesideCopy compares imports in chunks with \copy of as many rows into the same
// table.
func BenchmarkImportBesideCopy(b *testing.B) {
	const rows = 50_000
	for _, chunk := range []int{1000, 5000, 10_000} {
		b.Run(fmt.Sprintf("chunk=%d", chunk), func(b *testing.B) {
			s, url := benchServer(b)
			var ours, theirs time.Duration
			for b.Loop() {
				users := benchUsers(rows)
				started := time.Now()
				for start := 0; start < rows; start += chunk {
					if _, err := s.Import(b.Context(), users[start:start+chunk]); err != nil {
						b.Fatal(err)
					}
				}
				ours += time.Since(started)
				theirs += psqlCopy(b, url, benchUsers(rows))
			}
			total := float64(rows * b.N)
			reportRates(b, total/ours.Seconds(), total/theirs.Seconds(), "rows/s")
		})
	}
}

// BenchmarkImportStreamBesideCopy is the same for an import over gRPC, through one stream of a
// server in this process.
func BenchmarkImportStreamBesideCopy(b *testing.B) {
	const rows = 50_000
	s, url := benchServer(b)
	client := servertest.Start(b, func(config *server.Config) { config.Store = s }).Client(b, connecthttp.WithGRPC())
	var ours, theirs time.Duration
	for b.Loop() {
		users := benchUsers(rows)
		started := time.Now()
		importStream(b, client, users)
		ours += time.Since(started)
		theirs += psqlCopy(b, url, benchUsers(rows))
	}
	total := float64(rows * b.N)
	reportRates(b, total/ours.Seconds(), total/theirs.Seconds(), "rows/s")
}

func importStream(b *testing.B, client userv1connect.UserServiceClient, users []store.NewUser) {
	b.Helper()
	stream, err := client.BatchCreateUsers(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	for _, user := range users {
		if err := stream.Send(&userv1.CreateUserRequest{
			UserId: user.ID, Email: user.Email, DisplayName: user.DisplayName, Roles: user.Roles,
		}); err != nil {
			break // The answer says why.
		}
	}
	answer, err := stream.CloseAndReceive()
	if err != nil || int(answer.GetSuccessCount()) != len(users) {
		b.Fatalf("%d of %d users stored: %v", answer.GetSuccessCount(), len(users), err)
	}
}

func reportRates(b *testing.B, ours, theirs float64, unit string) {
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ours, unit)
	b.ReportMetric(theirs, "tool-"+unit)
	b.ReportMetric(ours/theirs, "ratio")
}

func benchUsers(n int) []store.NewUser {
	users := make([]store.NewUser, n)
	for i := range users {
		users[i] = newUser()
		users[i].Roles = []string{"member", "reader"}
	}
	return users
}

// psqlCopy returns how long psql takes for \copy of users.
func psqlCopy(b *testing.B, url string, users []store.NewUser) time.Duration {
	b.Helper()
	var text bytes.Buffer
	at := time.Now().UTC().Format(time.RFC3339Nano)
	for _, user := range users {
		fmt.Fprintf(&text, "%s\t%s\t%s\t%s\t{%s}\t%s\t%[6]s\t1\n", user.ID, user.Email, user.DisplayName,
			strings.ToLower(user.DisplayName), strings.Join(user.Roles, ","), at)
	}
	file := filepath.Join(b.TempDir(), "users")
	if err := os.WriteFile(file, text.Bytes(), 0o600); err != nil {
		b.Fatal(err)
	}
	started := time.Now()
	runTool(b, "psql", "-d", url, "-c", `\copy users (id, email, display_name, folded_name, roles, created_at, updated_at, version) from '`+file+`'`)
	return time.Since(started)
}

// runTool runs a client program of PostgreSQL and returns what it prints.
func runTool(b *testing.B, name string, args ...string) string {
	b.Helper()
	output, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		b.Fatalf("%s: %v\n%s", name, err, output)
	}
	return string(output)
}

// BenchmarkCreateBesidePgbench compares creates at 16 connections with pgbench's of the same
// statement.
func BenchmarkCreateBesidePgbench(b *testing.B) {
	s, url := benchServer(b)
	id := `lpad(to_hex(:number::bigint), 32, '0')::uuid`
	script := `\set number random(1, 9000000000000000000)` + "\n" + fillIn(postgres.CreateSQL, map[string]string{
		"$1": id, "$2": `(:number || '@example.com')`, "$3": `(:number || '@example.com')`, "$4": `'Ada'`, "$5": `'ada'`,
		"$6": `'{}'`, "$7": `false`, "$8": `null`, "$9": `'{}'`, "$10": `null`, "$11": `null`, "$12": `now()`,
	})
	againstPgbench(b, url, script, func() error {
		_, err := s.Create(b.Context(), newUser())
		return err
	})
}

// BenchmarkGetBesidePgbench compares gets by id at 16 connections with pgbench's.
func BenchmarkGetBesidePgbench(b *testing.B) {
	s, url := benchServer(b)
	conn := connect(b, url)
	const users = 100_000
	run(b, conn, `insert into users (id, email, display_name, folded_name, created_at, updated_at, version)
		select lpad(to_hex(n), 32, '0')::uuid, n || '@example.com', 'Ada', 'ada', now(), now(), 1 from generate_series(1, $1) n`, users)
	run(b, conn, `vacuum analyze users`)
	script := fmt.Sprintf("\\set number random(1, %d)\n", users) + fillIn(postgres.GetSQL, map[string]string{
		"$1": `lpad(to_hex(:number::bigint), 32, '0')::uuid`,
	})
	var next atomic.Int64
	againstPgbench(b, url, script, func() error {
		_, err := s.Get(b.Context(), fmt.Sprintf("00000000-0000-0000-0000-%012x", 1+next.Add(7919)%users))
		return err
	})
}

var parameter = regexp.MustCompile(`\$[0-9]+`)

// fillIn writes expressions for the parameters of a statement, in one line.
func fillIn(sql string, values map[string]string) string {
	sql = parameter.ReplaceAllStringFunc(sql, func(name string) string { return values[name] })
	return strings.Join(strings.Fields(sql), " ") + ";\n"
}

// againstPgbench runs call on 16 goroutines and a script on 16 connections of
// pgbench, in turn, a few seconds each.
func againstPgbench(b *testing.B, url, script string, call func() error) {
	const slice = 3 * time.Second
	file := filepath.Join(b.TempDir(), "script")
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		b.Fatal(err)
	}
	var ours, theirs float64
	for b.Loop() {
		ours += callsPerSecond(b, slice, call)
		theirs += pgbench(b, url, file, slice)
	}
	reportRates(b, ours/float64(b.N), theirs/float64(b.N), "calls/s")
}

func callsPerSecond(b *testing.B, slice time.Duration, call func() error) float64 {
	b.Helper()
	var calls atomic.Int64
	var group errgroup.Group
	end := time.Now().Add(slice)
	for range benchClients {
		group.Go(func() error {
			for time.Now().Before(end) {
				if err := call(); err != nil {
					return err
				}
				calls.Add(1)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
	return float64(calls.Load()) / slice.Seconds()
}

var tps = regexp.MustCompile(`tps = ([0-9.]+) \(without`)

func pgbench(b *testing.B, address, file string, slice time.Duration) float64 {
	b.Helper()
	parsed, err := url.Parse(address)
	if err != nil {
		b.Fatal(err)
	}
	output := runTool(b, "pgbench", "-n", "-h", parsed.Query().Get("host"), "-U", "postgres", "-M", "prepared",
		"-c", strconv.Itoa(benchClients), "-j", "2", "-T", strconv.Itoa(int(slice.Seconds())), "-f", file, "postgres")
	match := tps.FindStringSubmatch(output)
	if match == nil {
		b.Fatalf("pgbench: %s", output)
	}
	rate, err := strconv.ParseFloat(match[1], 64)
	if err != nil {
		b.Fatal(err)
	}
	return rate
}
