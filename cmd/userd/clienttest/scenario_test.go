package clienttest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	userv1 "github.com/example/userd/gen/user/v1"
)

// Sizes of the streams of the scenario.
const (
	rowCount    = 10_000
	updateCount = 1_000
	// lockstep is the number of updates whose answer is awaited before the next one
	// is sent.
	lockstep = 3
	// together is the number of single updates under way at the same time.
	together = 5
	// timeout bounds one run of the scenario.
	timeout = 3 * time.Minute
)

// Users of the scenario besides the rows of the import.
const (
	graceID = "3f2b8c1e-5d0a-4b7e-9c66-1a2b3c4d5e6f" // Chosen by the client.
	nobody  = "00000000-0000-4000-8000-000000000000"
)

var login = time.Date(2024, 2, 29, 3, 4, 5, 678901000, time.UTC)

// document holds the answers that a client got, in lines by section. What differs
// from run to run is not in it: ids are replaced by labels, times are checked and
// left out.
type document map[string][]string

// scenario is one run against an empty server.
type scenario struct {
	t       *testing.T
	ctx     context.Context
	client  client
	began   time.Time
	labels  map[string]string // By user id.
	stored  []string          // Ids of imported users, in order.
	latest  map[string]int64  // Version by user id.
	section string
	said    document
}

// play runs the scenario. A client without client streams leaves the import to
// another client.
func play(t *testing.T, c, importer client) document {
	s := newScenario(t, c)
	s.users()
	s.errors()
	if c.clientStreams {
		importer = c
	}
	s.importRows(importer)
	if !c.clientStreams {
		delete(s.said, "import")
	}
	s.list()
	s.updates()
	s.search()
	s.watchAndDelete()
	return s.said
}

func newScenario(t *testing.T, c client) *scenario {
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	t.Cleanup(cancel)
	return &scenario{
		t: t, ctx: ctx, client: c, began: time.Now(),
		labels: map[string]string{nobody: "nobody"}, latest: map[string]int64{}, said: document{},
	}
}

// say adds a line to the current section.
func (s *scenario) say(format string, args ...any) {
	s.said[s.section] = append(s.said[s.section], fmt.Sprintf(format, args...))
}

// send sends a request.
func (s *scenario) send(r *rpc, request proto.Message) {
	data, err := protojson.Marshal(request)
	if err != nil {
		panic(err)
	}
	r.send(data)
}

// receive waits for a response and reports whether there was one before the end.
func (s *scenario) receive(r *rpc, response proto.Message) bool {
	s.t.Helper()
	select {
	case data, ok := <-r.responses:
		if !ok {
			return false
		}
		proto.Reset(response)
		if err := protojson.Unmarshal(data, response); err != nil {
			s.t.Fatalf("%v: %s", err, data)
		}
		return true
	case <-s.ctx.Done():
		s.t.Fatalf("no answer: %v", s.ctx.Err())
		return false
	}
}

// ended waits for the end of a call that has no more responses.
func (s *scenario) ended(r *rpc) end {
	s.t.Helper()
	for data := range r.responses {
		s.t.Fatalf("unexpected response: %s", data)
	}
	if r.end.err != nil {
		s.t.Fatal(r.end.err)
	}
	if strings.Contains(r.end.Message, "@") {
		s.t.Errorf("error with an email address: %s", r.end.Message)
	}
	return r.end
}

// call makes an RPC with one request and one response.
func (s *scenario) call(method protoreflect.Name, request, response proto.Message) end {
	s.t.Helper()
	r := s.client.open(s.ctx, method)
	s.send(r, request)
	r.close()
	answered := s.receive(r, response)
	e := s.ended(r)
	if answered != (e.Code == 0) {
		s.t.Fatalf("%s ended with %s, response: %t", method, e, answered)
	}
	return e
}

// user describes a user, and checks what must not be in a document.
func (s *scenario) user(u *userv1.User) string {
	s.t.Helper()
	if u == nil {
		return "no user"
	}
	s.latest[u.GetId()] = max(s.latest[u.GetId()], u.GetVersion())
	created, updated := u.GetCreatedAt().AsTime(), u.GetUpdatedAt().AsTime()
	if created.Before(s.began.Add(-time.Second)) || updated.Before(created) || time.Since(updated) < -time.Second {
		s.t.Errorf("user created at %v, updated at %v", created, updated)
	}
	lastLogin := "never"
	if u.LastLogin != nil {
		lastLogin = u.GetLastLogin().AsTime().Format(time.RFC3339Nano)
	}
	return person{s.label(u.GetId()), u.GetEmail(), u.GetDisplayName(), u.GetRoles(), u.GetVersion(), lastLogin}.String()
}

func (s *scenario) label(id string) string {
	if label, ok := s.labels[id]; ok {
		return label
	}
	return "unknown user " + id
}

// learn gives a user that the server has made a label.
func (s *scenario) learn(id, label string) {
	s.t.Helper()
	if parsed, err := uuid.Parse(id); err != nil || parsed.Version() != 4 || parsed.String() != id {
		s.t.Errorf("%s has id %q, want a UUID of version 4", label, id)
	}
	s.labels[id] = label
}

func (s *scenario) idOf(label string) string {
	for id, l := range s.labels {
		if l == label {
			return id
		}
	}
	s.t.Fatalf("%s has no id", label)
	return ""
}

// users plays what one does with single users.
func (s *scenario) users() {
	s.section = "users"
	var created userv1.CreateUserResponse
	s.call("CreateUser", createAda(), &created)
	s.learn(created.GetUser().GetId(), "ada")
	s.say("create: %s", s.user(created.GetUser()))
	s.labels[graceID] = "grace"
	for range 2 {
		s.call("CreateUser", createGrace(), &created)
		s.say("create with an id: %s", s.user(created.GetUser()))
	}

	ada := s.idOf("ada")
	for _, id := range []string{ada, graceID, nobody} {
		var got userv1.GetUserResponse
		s.call("GetUser", &userv1.GetUserRequest{UserId: id}, &got)
		s.say("get %s: %s", s.label(id), s.user(got.GetUser()))
	}
	for _, email := range []string{"aDA@eXAMPLE.cOM", "nobody@example.com"} {
		var got userv1.GetUserByEmailResponse
		s.call("GetUserByEmail", &userv1.GetUserByEmailRequest{Email: email}, &got)
		s.say("get %s: %s", email, s.user(got.GetUser()))
	}

	var updated userv1.UpdateUserResponse
	for _, update := range []*userv1.UserUpdate{
		{UserId: ada, DisplayName: proto.String("Countess of Lovelace"), ExpectedVersion: proto.Int64(1)},
		{UserId: ada, AddRoles: []string{"ops"}, RemoveRoles: []string{"dev"}},
		{UserId: ada, AddRoles: []string{"ops"}},
	} {
		s.call("UpdateUser", &userv1.UpdateUserRequest{Update: update}, &updated)
		s.say("update: %s", s.user(updated.GetUser()))
	}
	var loggedIn userv1.RecordLoginResponse
	for _, at := range []time.Time{login, login.Add(time.Second)} {
		s.call("RecordLogin", &userv1.RecordLoginRequest{UserId: ada, At: timestamppb.New(at)}, &loggedIn)
		s.say("record login: %s", s.user(loggedIn.GetUser()))
	}
	var got userv1.GetUserResponse
	s.call("GetUser", &userv1.GetUserRequest{UserId: ada, MinVersion: 4}, &got)
	s.say("get at least version 4: %s", s.user(got.GetUser()))
	var batch userv1.BatchGetUsersResponse
	s.call("BatchGetUsers", &userv1.BatchGetUsersRequest{UserIds: []string{graceID, nobody, ada}}, &batch)
	for _, u := range batch.GetUsers() {
		s.say("batch get: %s", s.user(u))
	}
	for _, id := range batch.GetMissingUserIds() {
		s.say("batch get: missing %s", s.label(id))
	}
}

// errors plays what fails.
func (s *scenario) errors() {
	s.section = "errors"
	ada := s.idOf("ada")
	for _, failing := range []struct {
		name    string
		method  protoreflect.Name
		request proto.Message
	}{
		{"create with a taken email", "CreateUser", &userv1.CreateUserRequest{Email: "ADA@example.com", DisplayName: "Ada"}},
		{"create with a taken id", "CreateUser", &userv1.CreateUserRequest{Email: "new@example.com", DisplayName: "New", UserId: graceID}},
		{"create with a bad email", "CreateUser", &userv1.CreateUserRequest{Email: "ada at example", DisplayName: "Ada"}},
		{"create with a bad role", "CreateUser", &userv1.CreateUserRequest{Email: "new@example.com", DisplayName: "New", Roles: []string{"ok", "Not OK"}}},
		{"get a bad id", "GetUser", &userv1.GetUserRequest{UserId: "ada"}},
		{"update an old version", "UpdateUser", &userv1.UpdateUserRequest{Update: &userv1.UserUpdate{UserId: ada, DisplayName: proto.String("Ada"), ExpectedVersion: proto.Int64(1)}}},
		{"update nobody", "UpdateUser", &userv1.UpdateUserRequest{Update: &userv1.UserUpdate{UserId: nobody, DisplayName: proto.String("Nobody")}}},
		{"record a login of nobody", "RecordLogin", &userv1.RecordLoginRequest{UserId: nobody}},
		{"delete nobody", "DeleteUser", &userv1.DeleteUserRequest{UserId: nobody}},
		{"search with a bad token", "SearchUsers", &userv1.SearchUsersRequest{PageToken: "bad"}},
		{"list with a bad token", "ListUsers", &userv1.ListUsersRequest{PageToken: "bad"}},
		{"watch from a bad cursor", "WatchUsers", &userv1.WatchUsersRequest{Cursor: "bad"}},
	} {
		r := s.client.open(s.ctx, failing.method)
		s.send(r, failing.request)
		r.close()
		s.say("%s: %s", failing.name, s.ended(r))
	}
}

// importRows plays the import of many rows.
func (s *scenario) importRows(importer client) {
	s.section = "import"
	r := importer.open(s.ctx, "BatchCreateUsers")
	for i := range rowCount {
		s.send(r, row(i))
	}
	r.close()
	var got userv1.BatchCreateUsersResponse
	s.receive(r, &got)
	s.say("import: %s, stored %d with %d ids, failed %d", s.ended(r), got.GetSuccessCount(), len(got.GetCreatedUserIds()), got.GetFailureCount())
	failed := map[int]bool{}
	for _, failure := range got.GetFailures() {
		if strings.Contains(failure.GetMessage(), "@") || failure.GetMessage() == "" {
			s.t.Errorf("row %d failed with message %q", failure.GetIndex(), failure.GetMessage())
		}
		failed[int(failure.GetIndex())] = true
		s.say("row %d: %s", failure.GetIndex(), failure.GetReason())
	}
	s.stored = got.GetCreatedUserIds()
	ids := s.stored
	for i := range rowCount {
		if !failed[i] && len(ids) > 0 {
			s.learn(ids[0], rowLabel(i))
			s.latest[ids[0]] = 1
			ids = ids[1:]
		}
	}
}

// list plays the first pages of all users, and then all.
func (s *scenario) list() {
	s.section = "list"
	request := &userv1.ListUsersRequest{PageSize: 4}
	for range 3 {
		r := s.client.open(s.ctx, "ListUsers")
		s.send(r, request)
		r.close()
		for u := new(userv1.User); s.receive(r, u); {
			s.say("page: %s", s.user(u))
		}
		e := s.ended(r)
		s.say("page: %s", e)
		request.PageToken = e.Trailer["next-page-token"]
	}
	r := s.client.open(s.ctx, "ListUsers")
	s.send(r, &userv1.ListUsersRequest{All: true})
	r.close()
	for u := new(userv1.User); s.receive(r, u); {
		s.say("all: %s", s.user(u))
	}
	e := s.ended(r)
	s.say("all: %s, next page %q", e, e.Trailer["next-page-token"])
}

// updates plays many updates, as a stream where the client can.
func (s *scenario) updates() {
	s.section = "updates"
	if !s.client.bidiStreams {
		for k := 0; k < updateCount; k += together {
			s.updatesAlone(k, k+together)
		}
		return
	}
	r := s.client.open(s.ctx, "StreamUserUpdates")
	var answer userv1.UserUpdateResponse
	for k := range lockstep {
		s.send(r, s.update(k))
		s.receive(r, &answer)
		s.sayUpdate(k, &answer)
	}
	go func() {
		for k := lockstep; k < updateCount; k++ {
			s.send(r, s.update(k))
		}
		r.close()
	}()
	for k := lockstep; s.receive(r, &answer); k++ {
		s.sayUpdate(k, &answer)
	}
	s.ended(r)
}

// update is number k of the updates.
func (s *scenario) update(k int) *userv1.UserUpdate {
	u := &userv1.UserUpdate{UserId: s.stored[k], DisplayName: proto.String(renamed(k)), AddRoles: []string{"renamed"}}
	switch updateFailure(k) {
	case userv1.Reason_REASON_USER_NOT_FOUND:
		u.UserId = nobody
	case userv1.Reason_REASON_VERSION_MISMATCH:
		u.ExpectedVersion = proto.Int64(9)
	case userv1.Reason_REASON_INVALID_FIELD:
		u.DisplayName = proto.String("")
	}
	return u
}

func (s *scenario) sayUpdate(k int, answer *userv1.UserUpdateResponse) {
	if answer.GetSuccess() {
		s.say("update %d: %s", k, s.user(answer.GetUpdatedUser()))
		return
	}
	if strings.Contains(answer.GetErrorMessage(), "@") || answer.GetErrorMessage() == "" || answer.UpdatedUser != nil {
		s.t.Errorf("update %d failed with %v", k, answer)
	}
	s.say("update %d: %s", k, answer.GetReason())
}

// updatesAlone makes updates from k up to end as unary RPCs at the same time.
func (s *scenario) updatesAlone(k, end int) {
	var open []*rpc
	for i := k; i < end; i++ {
		r := s.client.open(s.ctx, "UpdateUser")
		s.send(r, &userv1.UpdateUserRequest{Update: s.update(i)})
		r.close()
		open = append(open, r)
	}
	for i, r := range open {
		var answer userv1.UpdateUserResponse
		if s.receive(r, &answer) {
			s.say("update %d: %s", k+i, s.user(answer.GetUser()))
		}
		if e := s.ended(r); e.Code != 0 {
			s.say("update %d: %s", k+i, e.reason())
		}
	}
}

// search plays searches, page by page.
func (s *scenario) search() {
	s.section = "search"
	for _, filters := range searches {
		request := proto.CloneOf(filters)
		for page := 1; page == 1 || request.GetPageToken() != ""; page++ {
			var got userv1.SearchUsersResponse
			e := s.call("SearchUsers", request, &got)
			s.say("%s page %d: %s", searchName(filters), page, e)
			for _, u := range got.GetUsers() {
				s.say("%s", s.user(u))
			}
			request.PageToken = got.GetNextPageToken()
		}
	}
}

// watchAndDelete plays a watch from the beginning on, and while it goes on the
// deletion of a user.
func (s *scenario) watchAndDelete() {
	s.section = "watch"
	w := s.watch("earliest")
	for !w.sawAll() {
		w.receive()
	}
	for _, line := range w.state() {
		s.say("%s", line)
	}
	before := w.cursor

	s.section = "delete"
	e := s.call("DeleteUser", &userv1.DeleteUserRequest{UserId: graceID, ExpectedVersion: proto.Int64(7)}, &userv1.DeleteUserResponse{})
	s.say("delete another version: %s", e)
	var deleted userv1.DeleteUserResponse
	s.call("DeleteUser", &userv1.DeleteUserRequest{UserId: graceID, ExpectedVersion: proto.Int64(1)}, &deleted)
	s.say("delete: version %d", deleted.GetVersion())
	s.latest[graceID] = deleted.GetVersion()

	for !w.sawAll() {
		w.receive()
	}
	s.say("watch: %s", w.seen[graceID])
	w.close()
	resumed := s.watch(before)
	for len(resumed.seen) == 0 {
		resumed.receive()
	}
	resumed.close()
	s.say("resumed watch: %s", strings.Join(resumed.state(), ", "))

	var got userv1.GetUserResponse
	s.call("GetUser", &userv1.GetUserRequest{UserId: graceID}, &got)
	s.say("get: %s", s.user(got.GetUser()))
	e = s.call("DeleteUser", &userv1.DeleteUserRequest{UserId: graceID}, &deleted)
	s.say("delete again: %s", e)
	e = s.call("CreateUser", createGrace(), &userv1.CreateUserResponse{})
	s.say("create with the id of a deleted user: %s", e)
	var created userv1.CreateUserResponse
	s.call("CreateUser", &userv1.CreateUserRequest{Email: createGrace().GetEmail(), DisplayName: "Another Grace"}, &created)
	s.learn(created.GetUser().GetId(), "another grace")
	s.say("create with the email of a deleted user: %s", s.user(created.GetUser()))
}

// watch is a call of WatchUsers under way.
type watch struct {
	*scenario
	rpc      *rpc
	cursor   string
	versions map[string]int64  // By user id.
	seen     map[string]string // The last event, by user id.
}

func (s *scenario) watch(cursor string) *watch {
	w := &watch{scenario: s, rpc: s.client.open(s.ctx, "WatchUsers"), versions: map[string]int64{}, seen: map[string]string{}}
	s.send(w.rpc, &userv1.WatchUsersRequest{Cursor: cursor})
	w.rpc.close()
	return w
}

func (w *watch) receive() {
	w.t.Helper()
	var response userv1.WatchUsersResponse
	if !w.scenario.receive(w.rpc, &response) {
		w.t.Fatalf("watch has ended: %s", w.ended(w.rpc))
	}
	w.cursor = response.GetCursor()
	for _, event := range response.GetEvents() {
		if u := event.GetUpserted(); u != nil {
			w.see(u.GetId(), u.GetVersion(), w.user(u))
			continue
		}
		id, version := event.GetDeleted().GetUserId(), event.GetDeleted().GetVersion()
		w.see(id, version, fmt.Sprintf("%s deleted v%d", w.label(id), version))
	}
}

func (w *watch) see(id string, version int64, event string) {
	if version <= w.versions[id] {
		w.t.Errorf("watch: version %d of %s after version %d", version, w.label(id), w.versions[id])
	}
	w.versions[id] = version
	w.seen[id] = event
}

// sawAll reports whether the last change of every user has come.
func (w *watch) sawAll() bool {
	for id, version := range w.latest {
		if w.versions[id] < version {
			return false
		}
	}
	return true
}

// state is the last event of every user, in order.
func (w *watch) state() []string {
	var lines []string
	for _, event := range w.seen {
		lines = append(lines, event)
	}
	slices.SortFunc(lines, cmp.Compare[string])
	return lines
}

func (w *watch) close() {
	w.rpc.cancel()
	for range w.rpc.responses {
	}
}
