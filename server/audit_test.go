package server_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/server"
	"github.com/example/userd/server/audit"
	"github.com/example/userd/server/servertest"
)

// auditTape keeps the lines of an audit log.
type auditTape struct {
	mu    sync.Mutex
	lines bytes.Buffer
}

func (t *auditTape) Write(lines []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines.Write(lines)
	return nil
}

func (*auditTape) Reopen() error { return errors.ErrUnsupported }
func (*auditTape) Close() error  { return nil }

// auditLine is a line, without what time and address are.
type auditLine struct {
	Principal, Credential, Procedure string
	RequestID                        string `json:"request_id"`
	UserID                           string `json:"user_id"`
	Before                           int64  `json:"version_before"`
	After                            int64  `json:"version"`
}

// audited is a server with an audit log.
type audited struct {
	*guarded
	log  *audit.Log
	tape auditTape

	began time.Time
}

func startAudited(t *testing.T, transport server.Transport, lines ...string) *audited {
	t.Helper()
	a := &audited{began: time.Now()}
	a.log = audit.New(audit.Config{
		Output: &a.tape, Logger: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(), Now: time.Now,
		Handler: func(to *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(to, nil) },
	})
	a.guarded = startGuarded(t, func(config *server.Config) { config.HTTP2, config.Audit = transport, a.log }, lines...)
	return a
}

// written ends the log and returns its lines.
func (a *audited) written(t *testing.T) (lines []auditLine) {
	t.Helper()
	if err := a.log.Close(); err != nil {
		t.Fatal(err)
	}
	for text := range strings.Lines(a.tape.lines.String()) {
		var line struct {
			auditLine
			Time    time.Time
			Address string
		}
		decoder := json.NewDecoder(strings.NewReader(text))
		if err := decoder.Decode(&line); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if line.Time.Before(a.began) || line.Time.After(time.Now()) || !strings.HasPrefix(line.Address, "127.0.0.1:") {
			t.Errorf("time or address are wrong: %s", text)
		}
		if strings.Contains(text, "@") || strings.Contains(text, private) || strings.Contains(text, "Somebody") {
			t.Errorf("a line has personal data: %s", text)
		}
		lines = append(lines, line.auditLine)
	}
	return lines
}

// Each acknowledged write leaves its line, whichever way it came, and nothing else does.
func TestWritesAreAudited(t *testing.T) {
	t.Parallel()
	for _, transport := range []server.Transport{server.Engine, server.Std} {
		for _, over := range allWays {
			t.Run(string(transport)+" "+over.name, func(t *testing.T) {
				t.Parallel()
				a := startAudited(t, transport, tokenLine("writer", everyScope), tokenLine("reader", "users.read"))
				requestID := uuid.NewString()
				as := func(token string) userv1connect.UserServiceClient {
					return a.ClientOf(changing(over.http(t), func(req *http.Request) {
						setToken(req, token)
						req.Header.Set("X-Request-Id", requestID)
					}), over.options...)
				}
				token := a.issuer.Sign(t, map[string]any{"sub": "issued", "scope": "users.delete"})
				writer, reader, issued := as("writer"), as("reader"), as(token)
				var want []auditLine
				wrote := func(rpc, id string, before, after int64) {
					want = append(want, auditLine{"writer", "token", "user.v1.UserService/" + rpc, requestID, id, before, after})
				}
				first := newUserRequest(1)
				first.UserId = uuid.NewString()
				id := create(t, writer, first).GetId()
				wrote("CreateUser", id, 0, 1)
				create(t, writer, first) // Whoever has lost an answer sends the call again.
				wrote("CreateUser", id, 1, 1)
				update := &userv1.UserUpdate{UserId: id, AddRoles: []string{"author"}, ExpectedVersion: proto.Int64(1)}
				checkNone(t, send(t.Context(), writer, &userv1.UpdateUserRequest{Update: update}))
				wrote("UpdateUser", id, 1, 2)
				update.ExpectedVersion = nil
				checkNone(t, send(t.Context(), writer, &userv1.UpdateUserRequest{Update: update}))
				wrote("UpdateUser", id, 2, 2)
				checkNone(t, send(t.Context(), writer, &userv1.RecordLoginRequest{UserId: id}))
				wrote("RecordLogin", id, 2, 3)
				checkNone(t, send(t.Context(), writer, &userv1.RecordLoginRequest{UserId: id})) // Too early for another one.
				imported, err := importRows(t.Context(), writer, []*userv1.CreateUserRequest{newUserRequest(2), newUserRequest(1), first, newUserRequest(3)})
				checkNone(t, err)
				for _, created := range imported.GetCreatedUserIds() {
					if created == id {
						wrote("BatchCreateUsers", id, 3, 3)
					} else {
						wrote("BatchCreateUsers", created, 0, 1)
					}
				}
				if !over.isHTTP1() {
					update := &userv1.UserUpdate{UserId: id, AddRoles: []string{"editor"}}
					_, err := sendUpdates(t.Context(), writer, []*userv1.UserUpdate{update, {UserId: someID}, update})
					checkNone(t, err)
					wrote("StreamUserUpdates", id, 3, 4)
					wrote("StreamUserUpdates", id, 4, 4)
				}
				last := want[len(want)-1].After
				if over.isHTTP1() {
					last = 3
				}
				for _, rpc := range over.rpcs() {
					if rpc.scope != "users.read" {
						checkError(t, rpc.call(t.Context(), reader), denied)
					}
				}
				if send(t.Context(), writer, newUserRequest(1)) == nil || send(t.Context(), writer, &userv1.DeleteUserRequest{UserId: someID}) == nil {
					t.Error("what cannot be done is done")
				}
				checkNone(t, send(t.Context(), issued, &userv1.DeleteUserRequest{UserId: id}))
				want = append(want, auditLine{"issued", "jwt", "user.v1.UserService/DeleteUser", requestID, id, last, last + 1})
				if got := a.written(t); !slices.Equal(got, want) {
					t.Errorf("the lines are\n%s\nwant\n%s", listed(got), listed(want))
				}
			})
		}
	}
}

// checkNone ends a test that has an error.
func checkNone(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func listed(lines []auditLine) string {
	var text strings.Builder
	for _, line := range lines {
		fmt.Fprintf(&text, "%+v\n", line)
	}
	return text.String()
}

// An import that comes again leaves lines for what it changes, with both versions.
func TestImportsAreAudited(t *testing.T) {
	t.Parallel()
	a := startAudited(t, server.Engine, tokenLine("writer", everyScope))
	client := a.ClientOf(credentials["token"].client(a.guarded, servertest.HTTP2, t, "writer"), grpcBinary.options...)
	const rows = auditedRows
	var requests []*userv1.CreateUserRequest
	for i := range rows {
		requests = append(requests, newUserRequest(i))
	}
	imported, err := importRows(t.Context(), client, requests)
	checkNone(t, err)
	again := []*userv1.CreateUserRequest{newUserRequest(0), newUserRequest(1), newUserRequest(2)}
	again[0].OnConflict, again[1].OnConflict, again[2].OnConflict = userv1.OnConflict_ON_CONFLICT_UPDATE, userv1.OnConflict_ON_CONFLICT_SKIP, userv1.OnConflict_ON_CONFLICT_UPDATE
	again[0].Roles = []string{"changed"}
	_, err = importRows(t.Context(), client, again)
	checkNone(t, err)
	lines := a.written(t)
	if len(lines) != rows+1 || len(imported.GetCreatedUserIds()) != rows {
		t.Fatalf("%d lines for %d users and a change", len(lines), len(imported.GetCreatedUserIds()))
	}
	for i, id := range imported.GetCreatedUserIds() {
		if lines[i].UserID != id || lines[i].After != 1 {
			t.Fatalf("line %d is %+v, want %s", i, lines[i], id)
		}
	}
	if last := lines[rows]; last.UserID != imported.GetCreatedUserIds()[0] || last.Before != 1 || last.After != 2 {
		t.Errorf("the change is %+v", last)
	}
}

func BenchmarkCreate(b *testing.B) {
	for _, name := range []string{"alone", "audited"} {
		b.Run(name, func(b *testing.B) {
			var log *audit.Log
			if name == "audited" {
				file, err := audit.OpenFile(filepath.Join(b.TempDir(), "audit"))
				if err != nil {
					b.Fatal(err)
				}
				log = audit.New(audit.Config{
					Output: file, Logger: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(), Now: time.Now,
					Handler: func(to *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(to, nil) },
				})
				defer log.Close()
			}
			client := servertest.Start(b, func(config *server.Config) { config.Audit = log }).Client(b, grpcBinary.options...)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := client.CreateUser(b.Context(), newUserRequest(i)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
