//go:build interop

package interop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	userv1 "github.com/example/userd/gen/user/v1"
)

const (
	nobody = "00000000-0000-4000-8000-000000000000"
	// streamRows is the most that one stream may import.
	streamRows = 100_000
)

// play plays a scenario of doc.go, as the programs for other languages do.
func (c *goClient) play(ctx context.Context, scenario, run string, count int) string {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	said, err := map[string]func(context.Context, string, int) (string, error){
		"unary": c.unary, "errors": c.errors, "gzip": c.gzip, "deadline": c.deadline, "cancel": c.cancel,
		"metadata": c.metadata, "keepalive": c.keepalive, "together": c.together, "idle": c.idle,
		"list": c.list, "watch": c.watchAll, "import": c.importRows, "updates": c.updates,
	}[scenario](ctx, run, count)
	if err != nil {
		return fmt.Sprintf("failed: %v", err)
	}
	return said
}

func newUser(email, name string, roles ...string) *userv1.CreateUserRequest {
	return &userv1.CreateUserRequest{Email: email + "@interop.example", DisplayName: name, Roles: roles}
}

func describe(user *userv1.User) string {
	return fmt.Sprintf("%d %s %s", user.GetVersion(), user.GetDisplayName(), strings.Join(user.GetRoles(), ","))
}

// get reads a user and says what it got.
func (c *goClient) get(ctx context.Context, id string) (string, error) {
	var response userv1.GetUserResponse
	err := c.call(ctx, "GetUser", &userv1.GetUserRequest{UserId: id}, &response, false)
	if response.User == nil {
		return "gone", err
	}
	return fmt.Sprintf("got %d", response.GetUser().GetVersion()), err
}

func (c *goClient) unary(ctx context.Context, run string, _ int) (string, error) {
	var created userv1.CreateUserResponse
	if err := c.call(ctx, "CreateUser", newUser(run+"-unary", "Ada ☕", "b", "a"), &created, false); err != nil {
		return "", err
	}
	id := created.GetUser().GetId()
	got, err := c.get(ctx, id)
	var updated userv1.UpdateUserResponse
	change := &userv1.UserUpdate{UserId: id, DisplayName: proto.String("Countess"), RemoveRoles: []string{"b"}}
	err = errors.Join(err, c.call(ctx, "UpdateUser", &userv1.UpdateUserRequest{Update: change}, &updated, false))
	var deleted userv1.DeleteUserResponse
	err = errors.Join(err, c.call(ctx, "DeleteUser", &userv1.DeleteUserRequest{UserId: id}, &deleted, false))
	after, lastErr := c.get(ctx, id)
	return fmt.Sprintf("created %s; %s; updated %s; deleted %d; %s", describe(created.GetUser()), got,
		describe(updated.GetUser()), deleted.GetVersion(), after), errors.Join(err, lastErr)
}

func (c *goClient) errors(ctx context.Context, run string, _ int) (string, error) {
	twice := newUser(run+"-errors", "Ada")
	if err := c.call(ctx, "CreateUser", twice, &userv1.CreateUserResponse{}, false); err != nil {
		return "", err
	}
	var said []string
	for _, failing := range []struct {
		method            protoreflect.Name
		request, response proto.Message
	}{
		{"CreateUser", &userv1.CreateUserRequest{Email: "x", DisplayName: "X"}, &userv1.CreateUserResponse{}},
		{"CreateUser", twice, &userv1.CreateUserResponse{}},
		{"DeleteUser", &userv1.DeleteUserRequest{UserId: nobody}, &userv1.DeleteUserResponse{}},
		{"ListUsers", &userv1.ListUsersRequest{PageToken: "bad"}, &userv1.User{}},
	} {
		code, reason := c.failure(c.call(ctx, failing.method, failing.request, failing.response, false))
		said = append(said, fmt.Sprintf("%d %s", code, reason))
	}
	return strings.Join(said, "; "), nil
}

func (c *goClient) gzip(ctx context.Context, run string, _ int) (string, error) {
	var created userv1.CreateUserResponse
	err := c.call(ctx, "CreateUser", newUser(run+"-gzip", strings.Repeat("z", 200)), &created, true)
	var got userv1.GetUserResponse
	request := &userv1.GetUserRequest{UserId: created.GetUser().GetId()}
	err = errors.Join(err, c.call(ctx, "GetUser", request, &got, true))
	return fmt.Sprintf("created %d; got %d", len(created.GetUser().GetDisplayName()), len(got.GetUser().GetDisplayName())), err
}

// watch reads a watch until enough says so, and returns how it ended.
func (c *goClient) watch(ctx context.Context, cursor string, enough func(*userv1.WatchUsersResponse) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := c.start(ctx, "WatchUsers", &userv1.WatchUsersRequest{Cursor: cursor}, false)
	for err == nil {
		var response userv1.WatchUsersResponse
		if err = s.Receive(&response); err == nil && enough(&response) {
			cancel()
		}
	}
	return err
}

func (c *goClient) deadline(ctx context.Context, _ string, _ int) (string, error) {
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	code, _ := c.failure(c.watch(short, "", func(*userv1.WatchUsersResponse) bool { return false }))
	got, err := c.get(ctx, nobody)
	return fmt.Sprintf("%d; %s", code, got), err
}

func (c *goClient) cancel(ctx context.Context, _ string, _ int) (string, error) {
	code, _ := c.failure(c.watch(ctx, "", func(*userv1.WatchUsersResponse) bool { return true }))
	got, err := c.get(ctx, nobody)
	return fmt.Sprintf("%d; %s", code, got), err
}

func (c *goClient) metadata(ctx context.Context, _ string, size int) (string, error) {
	bytes := make([]byte, 1024)
	for i := range bytes {
		bytes[i] = byte(i)
	}
	ctx = c.withHeader(ctx, "x-interop", strings.Repeat("m", size))
	return c.get(c.withHeader(ctx, "x-interop-bin", string(bytes)), nobody)
}

func (c *goClient) keepalive(ctx context.Context, _ string, count int) (string, error) {
	seen := 0
	err := c.watch(ctx, "", func(*userv1.WatchUsersResponse) bool {
		seen++
		return seen == count
	})
	if seen < count {
		return "", err
	}
	return fmt.Sprintf("%d messages", count), nil // More may have been on their way.
}

func (c *goClient) together(ctx context.Context, _ string, count int) (string, error) {
	var calls errgroup.Group
	for range count {
		calls.Go(func() error {
			_, err := c.get(ctx, nobody)
			return err
		})
	}
	return fmt.Sprintf("%d gone", count), calls.Wait()
}

func (c *goClient) idle(ctx context.Context, _ string, seconds int) (string, error) {
	before, err := c.get(ctx, nobody)
	time.Sleep(time.Duration(seconds) * time.Second) // Idleness takes its time.
	after, afterErr := c.get(ctx, nobody)
	return before + "; " + after, errors.Join(err, afterErr)
}

func isOf(run string, user *userv1.User) bool { return strings.HasPrefix(user.GetEmail(), run+"-") }

func (c *goClient) list(ctx context.Context, run string, _ int) (string, error) {
	s, err := c.start(ctx, "ListUsers", &userv1.ListUsersRequest{All: true}, false)
	seen := 0
	for err == nil {
		var user userv1.User
		if err = s.Receive(&user); err == nil && isOf(run, &user) {
			seen++
		}
	}
	return fmt.Sprintf("%d users", seen), unlessEOF(err)
}

func unlessEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func (c *goClient) watchAll(ctx context.Context, run string, count int) (string, error) {
	seen := 0
	err := c.watch(ctx, "earliest", func(response *userv1.WatchUsersResponse) bool {
		for _, event := range response.GetEvents() {
			if isOf(run, event.GetUpserted()) {
				seen++
			}
		}
		return seen >= count
	})
	if seen < count {
		return "", fmt.Errorf("after %d changes: %w", seen, err)
	}
	return fmt.Sprintf("%d changes", seen), nil
}

func (c *goClient) importRows(ctx context.Context, run string, count int) (string, error) {
	for first := 0; first < count; first += streamRows {
		response, err := c.importStream(ctx, run, first, min(first+streamRows, count))
		if err != nil {
			return "", err
		}
		c.ids = append(c.ids, response.GetCreatedUserIds()...)
	}
	return fmt.Sprintf("%d stored", len(c.ids)), nil
}

func (c *goClient) importStream(ctx context.Context, run string, first, end int) (*userv1.BatchCreateUsersResponse, error) {
	s, err := c.open(ctx, service.Methods().ByName("BatchCreateUsers"), false)
	for i := first; i < end && err == nil; i++ {
		err = s.Send(newUser(fmt.Sprintf("%s-%d", run, i), fmt.Sprintf("Row %d", i)))
	}
	if unlessEOF(err) != nil {
		return nil, err
	}
	var response userv1.BatchCreateUsersResponse
	return &response, errors.Join(s.CloseSend(), s.Receive(&response))
}

func (c *goClient) updates(ctx context.Context, _ string, count int) (string, error) {
	if len(c.ids) == 0 {
		return "", errors.New("there is nothing to update")
	}
	s, err := c.open(ctx, service.Methods().ByName("StreamUserUpdates"), false)
	if err != nil {
		return "", err
	}
	var sending errgroup.Group
	sending.Go(func() error {
		for i := range count {
			update := &userv1.UserUpdate{UserId: c.ids[i%len(c.ids)], DisplayName: proto.String(fmt.Sprintf("Update %d", i))}
			if err := s.Send(update); err != nil {
				return unlessEOF(err)
			}
		}
		return s.CloseSend()
	})
	applied := 0
	for err == nil {
		var answer userv1.UserUpdateResponse
		if err = s.Receive(&answer); err == nil && answer.GetSuccess() {
			applied++
		}
	}
	return fmt.Sprintf("%d applied", applied), errors.Join(unlessEOF(err), sending.Wait())
}
