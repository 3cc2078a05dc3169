package server_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/server/servertest"
	"github.com/example/userd/store"
)

func TestListPages(t *testing.T) {
	t.Parallel()
	const count = 25
	running := servertest.Start(t, nil)
	want := fill(t, running.Store, count)
	for _, protocol := range []protocol{grpcBinary, grpcWeb, connectRPC, connectJSON} {
		for size, pages := range map[int32]int{0: 3, 1: 25, 5: 5, 24: 2, 25: 1, 100: 1} {
			client := running.Client(t, protocol.options...)
			var got []string
			token := ""
			for page := 1; ; page++ {
				users, next, err := list(t.Context(), client, &userv1.ListUsersRequest{PageSize: size, PageToken: token})
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, ids(users)...)
				if token = next; token == "" {
					if page != pages {
						t.Errorf("%s: size %d has %d pages, want %d", protocol.name, size, page, pages)
					}
					break
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: pages of %d hold %d users, want all %d in order", protocol.name, size, len(got), count)
			}
		}
	}
}

func TestListAll(t *testing.T) {
	t.Parallel()
	for _, count := range []int{0, 500, 1001} {
		running := servertest.Start(t, nil)
		client := running.Client(t, grpcBinary.options...)
		want := fill(t, running.Store, count)
		users, next, err := list(t.Context(), client, &userv1.ListUsersRequest{All: true, PageSize: -7})
		if err != nil || next != "" {
			t.Fatalf("token %q, error %v", next, err)
		}
		if !slices.Equal(ids(users), want) {
			t.Errorf("list has %d users, want all %d in order", len(users), count)
		}
	}
}

func TestListAllFromToken(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, nil)
	client := running.Client(t, grpcBinary.options...)
	want := fill(t, running.Store, 20)
	_, token, err := list(t.Context(), client, &userv1.ListUsersRequest{PageSize: 7})
	if err != nil {
		t.Fatal(err)
	}
	rest, next, err := list(t.Context(), client, &userv1.ListUsersRequest{All: true, PageToken: token})
	if err != nil || next != "" {
		t.Fatalf("token %q, error %v", next, err)
	}
	if !slices.Equal(ids(rest), want[7:]) {
		t.Errorf("rest is %v, want %v", ids(rest), want[7:])
	}
}

func TestSearchPages(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, nil)
	client := running.Client(t)
	want := fill(t, running.Store, 12)
	create(t, client, &userv1.CreateUserRequest{Email: "bob@example.com", DisplayName: "Bob"})
	var got []string
	req := &userv1.SearchUsersRequest{EmailPrefix: "HUSH", NameContains: "ada", PageSize: 5}
	for {
		res, err := client.SearchUsers(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, ids(res.GetUsers())...)
		if req.PageToken = res.GetNextPageToken(); req.PageToken == "" {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("search finds %d users, want %d in order", len(got), len(want))
	}
}

func TestSearchFilters(t *testing.T) {
	t.Parallel()
	old := timestamppb.New(time.Unix(1e9, 0))
	for _, protocol := range []protocol{grpcBinary, connectJSON} {
		running := servertest.Start(t, nil)
		client := running.Client(t, protocol.options...)
		request := func(i int) *userv1.CreateUserRequest {
			user := newUserRequest(i)
			user.Disabled, user.CreatedAt, user.LastLogin = true, old, old
			user.Attributes = map[string]string{"tenant": "blue", "locale": "de"}
			return user
		}
		first, second := create(t, client, request(0)), create(t, client, request(1))
		for i, spoil := range []func(*userv1.CreateUserRequest){
			func(u *userv1.CreateUserRequest) { u.Disabled = false },
			func(u *userv1.CreateUserRequest) { u.Attributes["tenant"] = "red" },
			func(u *userv1.CreateUserRequest) { u.LastLogin = nil; u.CreatedAt = nil },
			func(u *userv1.CreateUserRequest) { u.CreatedAt = timestamppb.New(time.Unix(1e9-1, 0)) },
			func(u *userv1.CreateUserRequest) { u.CreatedAt = timestamppb.New(time.Unix(1e9+1, 0)) },
			func(u *userv1.CreateUserRequest) { u.LastLogin = timestamppb.Now() },
		} {
			other := request(i + 2)
			spoil(other)
			create(t, client, other)
		}
		found, err := client.SearchUsers(t.Context(), &userv1.SearchUsersRequest{
			Disabled: new(true), Attributes: map[string]string{"tenant": "blue", "locale": "de"},
			InactiveSince: timestamppb.New(time.Unix(1e9, 1000)),
			CreatedAfter:  old, CreatedBefore: timestamppb.New(time.Unix(1e9+1, 0)), NewestFirst: true,
		})
		want := []string{first.GetId(), second.GetId()}
		slices.Sort(want)
		slices.Reverse(want) // They are of one moment.
		if err != nil || !slices.Equal(ids(found.GetUsers()), want) || found.GetNextPageToken() != "" {
			t.Errorf("%s: search finds %v, error %v, want %v", protocol.name, found, err, want)
		}
	}
}

// A search that has looked at very many users in vain goes on with the next page.
func TestSearchOfManyInVain(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, nil)
	client := running.Client(t)
	fill(t, running.Store, 12_000)
	last, began := newUserRequest(12_000), time.Now()
	last.LastLogin = timestamppb.New(began.Add(-2 * time.Hour))
	want := create(t, client, last)
	req := &userv1.SearchUsersRequest{InactiveSince: timestamppb.New(began.Add(-time.Hour))} // No index knows.
	first, err := client.SearchUsers(t.Context(), req)
	if err != nil || len(first.GetUsers()) != 0 || first.GetNextPageToken() == "" {
		t.Fatalf("the first page is %v, error %v", first, err)
	}
	req.PageToken = first.GetNextPageToken()
	second, err := client.SearchUsers(t.Context(), req)
	if err != nil || !slices.Equal(ids(second.GetUsers()), []string{want.GetId()}) || second.GetNextPageToken() != "" {
		t.Errorf("the second page is %v, error %v", second, err)
	}
}

// importRows sends rows and returns the answer.
func importRows(ctx context.Context, client userv1connect.UserServiceClient, rows []*userv1.CreateUserRequest) (*userv1.BatchCreateUsersResponse, error) {
	stream, err := client.BatchCreateUsers(ctx)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		if err := stream.Send(row); err != nil {
			break // The answer says why.
		}
	}
	return stream.CloseAndReceive()
}

// numberedRows are valid rows with ids.
func numberedRows(count int) (rows []*userv1.CreateUserRequest, ids []string) {
	for i := range count {
		row := newUserRequest(i)
		row.UserId = uuid.NewString()
		rows, ids = append(rows, row), append(ids, row.GetUserId())
	}
	return rows, ids
}

// stored are the ids of all users, in order.
func stored(tb testing.TB, s store.Store) []string {
	tb.Helper()
	var ids []string
	query := store.Query{Limit: 10_000}
	for {
		page, err := s.List(tb.Context(), query)
		if err != nil {
			tb.Fatal(err)
		}
		for _, user := range page.Users {
			ids = append(ids, user.ID)
		}
		if page.Next == (store.Position{}) {
			return ids
		}
		query.After = page.Next
	}
}

func TestImportPartialSuccess(t *testing.T) {
	t.Parallel()
	for _, protocol := range []protocol{grpcBinary, connectRPC, connectJSON} {
		t.Run(protocol.name, func(t *testing.T) {
			t.Parallel()
			running := servertest.Start(t, nil)
			client := running.Client(t, protocol.options...)
			create(t, client, newUserRequest(-1))
			rows, ids := numberedRows(2_500)
			var failures []*userv1.BatchCreateFailure
			spoil := func(index int, reason userv1.Reason, row *userv1.CreateUserRequest) {
				rows[index], ids[index] = row, ""
				failures = append(failures, &userv1.BatchCreateFailure{Index: int32(index), Reason: reason})
			}
			spoil(0, userv1.Reason_REASON_EMAIL_TAKEN, newUserRequest(-1))
			spoil(1, userv1.Reason_REASON_INVALID_FIELD, &userv1.CreateUserRequest{Email: private, DisplayName: testName(1)})
			taken := newUserRequest(5_000)
			taken.UserId = rows[2].GetUserId()
			spoil(7, userv1.Reason_REASON_USER_ID_TAKEN, taken)
			spoil(999, userv1.Reason_REASON_INVALID_FIELD, &userv1.CreateUserRequest{})
			upper := newUserRequest(998)
			upper.Email = strings.ToUpper(upper.GetEmail())
			spoil(1_000, userv1.Reason_REASON_EMAIL_TAKEN, upper)
			spoil(2_499, userv1.Reason_REASON_EMAIL_TAKEN, newUserRequest(2_498))
			ids = slices.DeleteFunc(ids, func(id string) bool { return id == "" })

			got, err := importRows(t.Context(), client, rows)
			if err != nil {
				t.Fatal(err)
			}
			for _, failure := range got.GetFailures() {
				if failure.GetMessage() == "" || strings.Contains(strings.ToLower(failure.GetMessage()), private) {
					t.Errorf("row %d: message is %q", failure.GetIndex(), failure.GetMessage())
				}
			}
			want := &userv1.BatchCreateUsersResponse{
				SuccessCount: int32(len(ids)), CreatedUserIds: ids, FailureCount: int32(len(failures)), Failures: failures,
			}
			if diff := cmp.Diff(want, got, protocmp.Transform(), protocmp.IgnoreFields(&userv1.BatchCreateFailure{}, "message")); diff != "" {
				t.Errorf("response (-want +got):\n%s", diff)
			}
			if !slices.Equal(stored(t, running.Store)[1:], ids) {
				t.Error("the store has other users, or in another order")
			}
		})
	}
}

// An import that comes again counts each row once.
func TestImportOnConflict(t *testing.T) {
	t.Parallel()
	for _, protocol := range []protocol{grpcBinary, connectRPC, connectJSON} {
		t.Run(protocol.name, func(t *testing.T) {
			t.Parallel()
			running := servertest.Start(t, nil)
			client := running.Client(t, protocol.options...)
			rows, ids := numberedRows(2_500)
			if _, err := importRows(t.Context(), client, rows[:2_000]); err != nil {
				t.Fatal(err)
			}
			for i, row := range rows {
				row.OnConflict = userv1.OnConflict_ON_CONFLICT_UPDATE
				switch i % 4 {
				case 0:
					row.OnConflict = userv1.OnConflict_ON_CONFLICT_SKIP
					row.DisplayName = testName(i + 1)
				case 1:
					row.DisplayName = testName(i + 1)
				case 2:
					row.UserId = "" // Its email says who it is.
				}
			}
			rows[3].UserId = uuid.NewString()
			got, err := importRows(t.Context(), client, rows)
			if err != nil {
				t.Fatal(err)
			}
			want := &userv1.BatchCreateUsersResponse{
				SuccessCount: 500, FailureCount: 1, SkippedCount: 1_499, UpdatedCount: 500,
				Failures: []*userv1.BatchCreateFailure{{
					Index: 3, Reason: userv1.Reason_REASON_EMAIL_TAKEN, Message: "email: another user has this address",
				}},
			}
			if diff := cmp.Diff(want, got, protocmp.Transform(), protocmp.IgnoreFields(want, "created_user_ids")); diff != "" {
				t.Errorf("response (-want +got):\n%s", diff)
			}
			for i, want := range []string{testName(0), testName(2)} {
				user, err := client.GetUser(t.Context(), &userv1.GetUserRequest{UserId: ids[i]})
				if err != nil || user.GetUser().GetDisplayName() != want {
					t.Errorf("user %d is %v, error %v", i, user, err)
				}
			}
		})
	}
}

func TestImportListsThousandFailures(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, nil)
	rows := make([]*userv1.CreateUserRequest, 1_500)
	for i := range rows {
		rows[i] = &userv1.CreateUserRequest{}
	}
	got, err := importRows(t.Context(), running.Client(t), rows)
	if err != nil {
		t.Fatal(err)
	}
	if got.GetFailureCount() != 1_500 || len(got.GetFailures()) != 1_000 || got.GetFailures()[999].GetIndex() != 999 {
		t.Errorf("%d failures, %d listed", got.GetFailureCount(), len(got.GetFailures()))
	}
}

// A row has nothing of the row before it.
func TestImportRowsAreApart(t *testing.T) {
	t.Parallel()
	for _, protocol := range []protocol{grpcBinary, connectRPC, connectJSON} {
		running := servertest.Start(t, nil)
		full, bare := newUserRequest(0), newUserRequest(1)
		full.UserId, full.Roles = uuid.NewString(), []string{"admin"}
		bare.UserId, bare.Roles = "", nil
		got, err := importRows(t.Context(), running.Client(t, protocol.options...), []*userv1.CreateUserRequest{full, bare})
		if err != nil || got.GetSuccessCount() != 2 {
			t.Fatalf("%s: response %v, error %v", protocol.name, got, err)
		}
		user, err := running.Store.Get(t.Context(), got.GetCreatedUserIds()[1])
		if err != nil || user.ID == full.GetUserId() || len(user.Roles) != 0 || user.Email != bare.GetEmail() {
			t.Errorf("%s: the second row became %v, error %v", protocol.name, user, err)
		}
	}
}

func TestImportNothing(t *testing.T) {
	t.Parallel()
	got, err := importRows(t.Context(), servertest.Start(t, nil).Client(t, grpcBinary.options...), nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&userv1.BatchCreateUsersResponse{}, got, protocmp.Transform()); diff != "" {
		t.Errorf("response (-want +got):\n%s", diff)
	}
}

// checkSummary checks that an error carries the response so far, and that the rows
// it counts as created are stored and are the first of those sent. It returns the
// response.
func checkSummary(tb testing.TB, err error, s store.Store, sent []string) *userv1.BatchCreateUsersResponse {
	tb.Helper()
	authored := new(connect.Error)
	if !errors.As(err, &authored) {
		tb.Fatalf("error is %v", err)
	}
	summaries := details[*userv1.BatchCreateUsersResponse](tb, authored)
	if len(summaries) != 1 {
		tb.Fatalf("details are %v, want one response", summaries)
	}
	created := summaries[0].GetSuccessCount()
	if got := stored(tb, s); !slices.Equal(got, sent[:created]) {
		tb.Errorf("store has %d users, want the first %d of the stream", len(got), created)
	}
	return summaries[0]
}

func TestImportTooManyRows(t *testing.T) {
	t.Parallel()
	const most, valid = 100_000, 1_000
	running := servertest.Start(t, nil)
	created, ids := numberedRows(valid)
	invalid := &userv1.CreateUserRequest{Email: private, DisplayName: testName(1)}
	rows := slices.Concat(created, slices.Repeat([]*userv1.CreateUserRequest{invalid}, most-valid+1))
	_, err := importRows(t.Context(), running.Client(t, grpcBinary.options...), rows)
	checkError(t, err, failure{code: connect.CodeResourceExhausted, reason: userv1.Reason_REASON_TOO_MANY_ROWS})
	got := checkSummary(t, err, running.Store, ids)
	if got.GetSuccessCount() != valid || got.GetFailureCount() != most-valid {
		t.Errorf("response counts %d and %d rows", got.GetSuccessCount(), got.GetFailureCount())
	}
}

// failSecond makes the second call of a method fail.
func failSecond(method string, fail func(ctx context.Context) error) func(ctx context.Context, method string) error {
	calls := make(chan struct{}, 1)
	return func(ctx context.Context, called string) error {
		if called != method {
			return nil
		}
		select {
		case calls <- struct{}{}:
			return nil
		default:
			return fail(ctx)
		}
	}
}

func TestImportStoreFailure(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		protocol protocol
		fail     func(context.Context) error
		want     failure
	}{
		"error": {
			protocol: grpcBinary,
			fail:     func(context.Context) error { return errors.New(private) },
			want:     failure{code: connect.CodeInternal, reason: userv1.Reason_REASON_INTERNAL},
		},
		"panic": {
			protocol: connectRPC,
			fail:     func(context.Context) error { panic(private) },
			want:     failure{code: connect.CodeInternal, reason: userv1.Reason_REASON_INTERNAL},
		},
		"unavailable": {
			protocol: connectJSON,
			fail:     func(context.Context) error { return store.ErrUnavailable },
			want:     failure{code: connect.CodeUnavailable, reason: userv1.Reason_REASON_UNAVAILABLE},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			running := startFaulty(t, failSecond("Import", test.fail))
			rows, ids := numberedRows(10_001) // One more than are ever committed together.
			_, err := importRows(t.Context(), running.Client(t, test.protocol.options...), rows)
			checkError(t, err, test.want)
			got := checkSummary(t, err, running.Store, ids)
			if got.GetSuccessCount() == 0 || int(got.GetSuccessCount()) == len(rows) || got.GetFailureCount() != 0 {
				t.Errorf("response counts %d and %d of %d rows", got.GetSuccessCount(), got.GetFailureCount(), len(rows))
			}
		})
	}
}

func TestImportInvalidMessage(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, nil)
	rows, ids := numberedRows(10)
	rows = append(rows, &userv1.CreateUserRequest{DisplayName: strings.Repeat("h", 17<<20)})
	_, err := importRows(t.Context(), running.Client(t, grpcBinary.options...), rows)
	checkError(t, err, failure{code: connect.CodeResourceExhausted, reason: userv1.Reason_REASON_MESSAGE_TOO_LARGE})
	checkSummary(t, err, running.Store, ids)
}

func TestImportCancelled(t *testing.T) {
	t.Parallel()
	committed := make(chan struct{})
	running := startFaulty(t, failSecond("Import", func(ctx context.Context) error {
		close(committed)
		<-ctx.Done()
		return ctx.Err()
	}))
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-committed
		cancel()
	}()
	rows, ids := numberedRows(10_001)
	if _, err := importRows(ctx, running.Client(t, grpcBinary.options...), rows); connect.CodeOf(err) != connect.CodeCanceled {
		t.Errorf("error is %v", err)
	}
	if err := running.Shutdown(t.Context()); err != nil { // Waits for the call.
		t.Fatal(err)
	}
	if got := stored(t, running.Store); len(got) == 0 || len(got) == len(ids) || !slices.Equal(got, ids[:len(got)]) {
		t.Errorf("store has %d users, want the first of the stream", len(got))
	}
}

func TestRepeatedCreate(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, nil)
	client := running.Client(t)
	req := newUserRequest(1)
	req.UserId = "AAAAAAAA-AAAA-4AAA-8AAA-AAAAAAAAAAAA"
	first := create(t, client, req)
	if first.GetId() != strings.ToLower(req.GetUserId()) || first.GetVersion() != 1 {
		t.Errorf("created %v", first)
	}
	if diff := cmp.Diff(first, create(t, client, req), protocmp.Transform()); diff != "" {
		t.Errorf("repeated create (-first +second):\n%s", diff)
	}
}

func TestRepeatedImport(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, nil)
	client := running.Client(t, grpcBinary.options...)
	rows, ids := numberedRows(100)
	for range 2 {
		got, err := importRows(t.Context(), client, rows)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got.GetCreatedUserIds(), ids) {
			t.Errorf("created %d users, want %d", got.GetSuccessCount(), len(ids))
		}
	}
	if got := stored(t, running.Store); !slices.Equal(got, ids) {
		t.Errorf("store has %d users, want %d", len(got), len(ids))
	}
}

// sendUpdates sends updates while it reads the answers, and returns these and how
// the stream ended.
func sendUpdates(ctx context.Context, client userv1connect.UserServiceClient, updates []*userv1.UserUpdate) ([]*userv1.UserUpdateResponse, error) {
	stream, err := client.StreamUserUpdates(ctx)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	sent := make(chan error, 1)
	go func() {
		for _, update := range updates {
			if err := stream.Send(update); err != nil {
				break // What is received says why.
			}
		}
		sent <- stream.CloseSend()
	}()
	var answers []*userv1.UserUpdateResponse
	for {
		answer, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return answers, <-sent
		}
		if err != nil {
			<-sent
			return answers, err
		}
		answers = append(answers, answer)
	}
}

func TestUpdatesInOrder(t *testing.T) {
	t.Parallel()
	for _, protocol := range []protocol{grpcBinary, connectRPC} {
		t.Run(protocol.name, func(t *testing.T) {
			t.Parallel()
			client := servertest.Start(t, nil).Client(t, protocol.options...)
			user := create(t, client, newUserRequest(1))
			const count = 1_000
			var updates []*userv1.UserUpdate
			var want []*userv1.UserUpdateResponse
			applied := func(name string) *userv1.UserUpdateResponse {
				user = proto.CloneOf(user)
				user.DisplayName, user.Version = name, user.GetVersion()+1
				return &userv1.UserUpdateResponse{Success: true, UpdatedUser: user}
			}
			for i := range count {
				name := testName(i + 2)
				update := &userv1.UserUpdate{UserId: user.GetId(), DisplayName: &name}
				var answer *userv1.UserUpdateResponse
				switch i % 10 {
				case 1:
					update.AddRoles = []string{"Hush"}
					answer = &userv1.UserUpdateResponse{Reason: userv1.Reason_REASON_INVALID_FIELD}
				case 3:
					update.UserId = nobody
					answer = &userv1.UserUpdateResponse{Reason: userv1.Reason_REASON_USER_NOT_FOUND}
				case 5:
					update.ExpectedVersion = proto.Int64(user.GetVersion() + 1)
					answer = &userv1.UserUpdateResponse{Reason: userv1.Reason_REASON_VERSION_MISMATCH}
				case 7:
					update.AddRoles = numberedRoles(store.MaxRoles)
					answer = &userv1.UserUpdateResponse{Reason: userv1.Reason_REASON_TOO_MANY_ROLES}
				case 8:
					update.ExpectedVersion = proto.Int64(user.GetVersion())
					answer = applied(name)
				default:
					answer = applied(name)
				}
				updates, want = append(updates, update), append(want, answer)
			}
			got, err := sendUpdates(t.Context(), client, updates)
			if err != nil {
				t.Fatal(err)
			}
			for i, answer := range got {
				if answer.GetSuccess() == (answer.ErrorMessage != nil) || strings.Contains(strings.ToLower(answer.GetErrorMessage()), private) {
					t.Errorf("answer %d: success %t with text %q", i, answer.GetSuccess(), answer.GetErrorMessage())
				}
			}
			if diff := cmp.Diff(want, got, protocmp.Transform(),
				protocmp.IgnoreFields(&userv1.UserUpdateResponse{}, "error_message"),
				protocmp.IgnoreFields(&userv1.User{}, "updated_at")); diff != "" {
				t.Errorf("answers (-want +got):\n%s", diff)
			}
		})
	}
}

// Each update is answered before the next one is sent.
func TestUpdatesOneByOne(t *testing.T) {
	t.Parallel()
	client := servertest.Start(t, nil).Client(t, grpcBinary.options...)
	user := create(t, client, newUserRequest(1))
	stream, err := client.StreamUserUpdates(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	for i := range int64(5) {
		if err := stream.Send(&userv1.UserUpdate{UserId: user.GetId(), DisplayName: proto.String(testName(int(i)))}); err != nil {
			t.Fatal(err)
		}
		answer, err := stream.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if answer.GetUpdatedUser().GetVersion() != i+2 {
			t.Errorf("update %d: answer is %v", i, answer)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("stream ends with %v", err)
	}
}

func TestUpdatesStoreFailure(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		fail func(context.Context) error
		want failure
	}{
		"panic": {
			fail: func(context.Context) error { panic(private) },
			want: failure{code: connect.CodeInternal, reason: userv1.Reason_REASON_INTERNAL},
		},
		"unavailable": {
			fail: func(context.Context) error { return store.ErrUnavailable },
			want: failure{code: connect.CodeUnavailable, reason: userv1.Reason_REASON_UNAVAILABLE},
		},
	} {
		for _, protocol := range []protocol{grpcBinary, connectJSON} {
			t.Run(name+" "+protocol.name, func(t *testing.T) {
				t.Parallel()
				running := startFaulty(t, failSecond("UpdateMany", test.fail))
				client := running.Client(t, protocol.options...)
				user := create(t, client, newUserRequest(1))
				updates := make([]*userv1.UserUpdate, 2_000) // More than can wait for a commit.
				for i := range updates {
					updates[i] = &userv1.UserUpdate{UserId: user.GetId(), DisplayName: proto.String(testName(i))}
				}
				answers, err := sendUpdates(t.Context(), client, updates)
				checkError(t, err, test.want)
				got, err := running.Store.Get(t.Context(), user.GetId())
				if err != nil {
					t.Fatal(err)
				}
				if len(answers) == 0 || got.Version != int64(len(answers))+1 {
					t.Errorf("%d updates are answered, and the user is at version %d", len(answers), got.Version)
				}
			})
		}
	}
}

func TestUpdateThatChangesNothing(t *testing.T) {
	t.Parallel()
	client := servertest.Start(t, nil).Client(t)
	user := create(t, client, newUserRequest(1))
	head := watchCursor(t, client)
	nothing := []*userv1.UserUpdate{
		{UserId: user.GetId()},
		{UserId: user.GetId(), AddRoles: user.GetRoles()},
		{UserId: user.GetId(), RemoveRoles: []string{"writer"}},
		{UserId: user.GetId(), DisplayName: proto.String(user.GetDisplayName())},
		{UserId: strings.ToUpper(user.GetId())},
	}
	answers, err := sendUpdates(t.Context(), client, nothing)
	if err != nil {
		t.Fatal(err)
	}
	for i, answer := range answers {
		if diff := cmp.Diff(&userv1.UserUpdateResponse{Success: true, UpdatedUser: user}, answer, protocmp.Transform()); diff != "" {
			t.Errorf("update %d (-want +got):\n%s", i, diff)
		}
	}
	if after := watchCursor(t, client); after != head {
		t.Error("the change log has grown")
	}
}

// watchCursor is the cursor of now.
func watchCursor(tb testing.TB, client userv1connect.UserServiceClient) string {
	tb.Helper()
	stream, err := client.WatchUsers(tb.Context(), &userv1.WatchUsersRequest{})
	if err != nil {
		tb.Fatal(err)
	}
	defer stream.Close()
	first, err := stream.Receive()
	if err != nil {
		tb.Fatal(err)
	}
	return first.GetCursor()
}
