package server_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"
	driver "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/example/userd/cache"
	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/server"
	"github.com/example/userd/server/servertest"
	"github.com/example/userd/server/wire"
	"github.com/example/userd/store"
	"github.com/example/userd/store/sqlite"
	"github.com/example/userd/store/storetest/transcript"
)

// foreignWrites are what another program may do to the row of a user.
var foreignWrites = []struct{ field, set string }{
	{"id", `id = upper(id)`},
	{"id", `id = 'hush'`},
	{"email", `email = cast(x'68757368ff' as text)`},
	{"display_name", `display_name = cast(x'68757368ff' as text)`},
	{"created_at", `created_at = 9223372036854775807`},
	{"created_at", `created_at = -9223372036854775808`},
	{"updated_at", `updated_at = 9223372036854775807`},
	{"last_login", `last_login = 9223372036854775807`},
	{"roles", `roles = 'hush'`},
	{"roles", `roles = '[1]'`},
	{"roles", `roles = '[""]'`},
	{"version", `version = 0`},
	{"version", `version = -1`},
}

const writtenID = "aaaaaaaa-1111-4111-8111-111111111111"

// startWritten runs a server on a SQLite file with three users, of which another
// program has written the second.
func startWritten(t *testing.T, cached bool, set string, logged *transcript.Log) *servertest.Server {
	t.Helper()
	path := filepath.Join(t.TempDir(), "userd.db")
	users, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	rows := []store.NewUser{
		{ID: someID, Email: testEmail(1), DisplayName: testName(1)},
		{ID: writtenID, Email: testEmail(2), DisplayName: testName(2), Roles: []string{"reader"}},
		{ID: otherID, Email: testEmail(3), DisplayName: testName(3)},
	}
	if _, err := users.Import(t.Context(), rows); err != nil {
		t.Fatal(err)
	}
	writeForeign(t, path, `UPDATE users SET `+set+` WHERE id = '`+writtenID+`'`)
	return startOn(t, users, cached, logged)
}

// writeForeign runs a statement without the triggers of the schema, which refuse most of
// what is not valid: files can be older than those, or damaged.
func writeForeign(t *testing.T, path, statement string) {
	t.Helper()
	conn, err := driver.OpenConn(path, driver.OpenReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	run := func(statement string, result func(*driver.Stmt) error) {
		if err := sqlitex.ExecuteTransient(conn, statement, &sqlitex.ExecOptions{ResultFunc: result}); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	triggers := make(map[string]string)
	run(`SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'`, func(row *driver.Stmt) error {
		triggers[row.ColumnText(0)] = row.ColumnText(1)
		return nil
	})
	for name := range triggers {
		run(`DROP TRIGGER `+name, nil)
	}
	run(statement, nil)
	for _, create := range triggers {
		run(create, nil)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
}

// startOn runs a server on a store, which it closes.
func startOn(t *testing.T, users store.Store, cached bool, logged *transcript.Log) *servertest.Server {
	t.Helper()
	var reader server.Reader
	if cached {
		c, err := cache.New(users, cache.Config{Encode: wire.EncodeUser, Decode: wire.DecodeUser, Logger: logged.Logger()})
		if err != nil {
			t.Fatal(err)
		}
		users, reader = c, c
	}
	t.Cleanup(func() {
		if err := users.Close(); err != nil {
			t.Error(err)
		}
	})
	return servertest.Start(t, func(config *server.Config) {
		config.Store, config.Reader, config.Logger = users, reader, logged.Logger()
	})
}

// A call for a user that could not have been stored fails, and names the user in the
// log. Others are not hindered.
func TestInvalidUser(t *testing.T) {
	t.Parallel()
	for _, test := range foreignWrites {
		for name, cached := range map[string]bool{"cached": true, "uncached": false} {
			t.Run(test.set+" "+name, func(t *testing.T) {
				t.Parallel()
				logged := new(transcript.Log)
				running := startWritten(t, cached, test.set, logged)
				for _, protocol := range []protocol{grpcBinary, connectJSON} {
					client := running.Client(t, protocol.options...)
					checkOneInvalid(t, client, test.field)
					checkOthers(t, client)
				}
				checkInvalidLog(t, logged.String(), test.field)
				checkMetric(t, running, "userd_store_invalid_users_total")
			})
		}
	}
}

func checkOneInvalid(t *testing.T, client userv1connect.UserServiceClient, field string) {
	t.Helper()
	if field == "id" {
		return // With another id there is no such user.
	}
	internal := failure{code: connect.CodeInternal, reason: userv1.Reason_REASON_INTERNAL}
	for _, request := range []proto.Message{
		&userv1.GetUserRequest{UserId: writtenID},
		&userv1.BatchGetUsersRequest{UserIds: []string{someID, writtenID}},
		&userv1.UpdateUserRequest{Update: &userv1.UserUpdate{UserId: writtenID, AddRoles: []string{"writer"}}},
	} {
		checkError(t, send(t.Context(), client, request), internal)
	}
	answers, err := sendUpdates(t.Context(), client, []*userv1.UserUpdate{{UserId: writtenID}, {UserId: someID}})
	if err != nil || len(answers) != 2 || answers[0].GetReason() != userv1.Reason_REASON_INTERNAL || !answers[1].GetSuccess() {
		t.Errorf("updates are answered %v, error %v", answers, err)
	}
}

// checkOthers checks that everything finds the users that are valid.
func checkOthers(t *testing.T, client userv1connect.UserServiceClient) {
	t.Helper()
	want := []string{someID, otherID}
	for _, request := range []*userv1.ListUsersRequest{{}, {All: true}} {
		users, _, err := list(t.Context(), client, request)
		if err != nil || !slices.Equal(ids(users), want) {
			t.Errorf("%v: users %v, error %v", request, ids(users), err)
		}
	}
	var found []string
	for token, first := "", true; first || token != ""; first = false {
		page, err := client.SearchUsers(t.Context(), &userv1.SearchUsersRequest{PageSize: 1, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		found, token = append(found, ids(page.GetUsers())...), page.GetNextPageToken()
	}
	if !slices.Equal(found, want) {
		t.Errorf("found %v", found)
	}
	got, err := client.BatchGetUsers(t.Context(), &userv1.BatchGetUsersRequest{UserIds: want})
	if err != nil || !slices.Equal(ids(got.GetUsers()), want) {
		t.Errorf("got %v, error %v", got, err)
	}
	if watched := watchIDs(t, client, len(want)); !slices.Equal(watched, want) {
		t.Errorf("watched %v", watched)
	}
}

// watchIDs are the ids of the first users that a watch of all changes delivers.
func watchIDs(t *testing.T, client userv1connect.UserServiceClient, count int) []string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := client.WatchUsers(ctx, &userv1.WatchUsersRequest{Cursor: "earliest"})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	var watched []string
	for len(watched) < count {
		message, err := stream.Receive()
		if err != nil {
			t.Fatal(err)
		}
		for _, event := range message.GetEvents() {
			watched = append(watched, event.GetUpserted().GetId())
		}
	}
	return watched
}

func checkInvalidLog(t *testing.T, text, field string) {
	t.Helper()
	want := "stored user " + writtenID + ": " + field + " is not valid"
	if field == "id" {
		want = "stored user: id is not a UUID in lower case"
	}
	if !strings.Contains(text, want) || strings.Contains(text, private) {
		t.Errorf("log should say %q and nothing private:\n%s", want, text)
	}
}

// checkMetric checks that something was counted.
func checkMetric(t *testing.T, running *servertest.Server, name string) {
	t.Helper()
	scrape := httptest.NewRecorder()
	running.Admin().ServeHTTP(scrape, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if text := scrape.Body.String(); !strings.Contains(text, "\n"+name+" ") || strings.Contains(text, "\n"+name+" 0\n") {
		t.Errorf("%s is not counted:\n%s", name, text)
	}
}

// An update that mends the user is taken.
func TestInvalidUserIsMended(t *testing.T) {
	t.Parallel()
	running := startWritten(t, true, `display_name = cast(x'ff' as text)`, new(transcript.Log))
	client := running.Client(t)
	update := &userv1.UserUpdate{UserId: writtenID, DisplayName: proto.String("Ada")}
	if _, err := client.UpdateUser(t.Context(), &userv1.UpdateUserRequest{Update: update}); err != nil {
		t.Fatal(err)
	}
	got, err := client.GetUser(t.Context(), &userv1.GetUserRequest{UserId: writtenID})
	if err != nil || got.GetUser().GetDisplayName() != "Ada" {
		t.Errorf("got %v, error %v", got, err)
	}
}

// A store that panics fails its calls: the process lives, and with it all others. What
// runs in the background is started again.
func TestPanicsOfTheStore(t *testing.T) {
	t.Parallel()
	users := servertest.NewStore(t)
	fill(t, users, 1)
	panicking := &faultyStore{Store: closedByOthers{users}, before: func(ctx context.Context, method string) error { panic(private + " " + method) }}
	logged := new(transcript.Log)
	running := startOn(t, panicking, true, logged)
	internal := failure{code: connect.CodeInternal, reason: userv1.Reason_REASON_INTERNAL}
	eachRequest(t, func(t *testing.T, protocol protocol, message proto.Message) {
		client := running.Client(t, protocol.options...)
		checkError(t, send(t.Context(), client, message), internal)
		if _, err := client.GetUserByEmail(t.Context(), &userv1.GetUserByEmailRequest{}); connect.CodeOf(err) != connect.CodeInvalidArgument {
			t.Errorf("error of a call without the store is %v", err)
		}
	})
}

// closedByOthers is a store that is not closed by whom it is given to.
type closedByOthers struct{ store.Store }

func (closedByOthers) Close() error { return nil }

// A wait for changes that panics ends the watch, and no more.
func TestPanicOfAWait(t *testing.T) {
	t.Parallel()
	running := startFaulty(t, func(_ context.Context, method string) error {
		if method == "Wait" {
			panic(private)
		}
		return nil
	})
	err := watchToEnd(t.Context(), running.Client(t), &userv1.WatchUsersRequest{})
	checkError(t, err, failure{code: connect.CodeInternal, reason: userv1.Reason_REASON_INTERNAL})
	checkMetric(t, running, "userd_panics_total")
}

// The tasks of the cache go on when the store has panicked for a while.
func TestCacheRecoversFromPanics(t *testing.T) {
	t.Parallel()
	users := servertest.NewStore(t)
	id := fill(t, users, 1)[0]
	healthy := make(chan struct{})
	panicking := &faultyStore{Store: users, before: func(context.Context, string) error {
		select {
		case <-healthy:
			return nil
		default:
			panic("not yet")
		}
	}}
	c, err := cache.New(closedByOthers{panicking}, cache.Config{Encode: wire.EncodeUser, Decode: wire.DecodeUser, Logger: new(transcript.Log).Logger()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Lookup(t.Context(), id, cache.Read{}); err == nil || !strings.Contains(err.Error(), "not yet") {
		t.Errorf("error is %v", err)
	}
	close(healthy)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for !c.Stats().Trusted && ctx.Err() == nil {
		if _, err := c.Lookup(ctx, id, cache.Read{}); err != nil {
			t.Fatal(err)
		}
	}
	if !c.Stats().Trusted {
		t.Error("the cache is never trusted again")
	}
}

// A copy does not carry on what is not valid: it stops and says which user.
func TestCopyStopsAtInvalidUser(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "userd.db")
	from, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	id := fill(t, from, 3)[1]
	writeForeign(t, path, `UPDATE users SET display_name = cast(x'ff' as text) WHERE id = '`+id+`'`)
	to, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "copy.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	err = store.Copy(t.Context(), from, to, func(_, _ int64) {})
	if invalid := new(store.InvalidUserError); !errors.As(err, &invalid) || invalid.ID != id {
		t.Errorf("error is %v", err)
	}
}
