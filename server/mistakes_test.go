//go:build unix

package server_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect/v2"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/server/servertest"
)

const (
	// The most that an error says of a caller's mistakes.
	maxToldMistakes = 16
	maxToldBytes    = 4 << 10
	// mistakes is how many a request of 60 KB has room for.
	mistakes = 30_000
)

// faultyRequests are requests full of mistakes, and what of them must be named.
func faultyRequests() map[proto.Message]failure {
	empty := make([]string, mistakes)
	badIDs := make([]string, 100)
	return map[proto.Message]failure{
		&userv1.CreateUserRequest{Roles: empty}:                                                    invalid("roles", "repeated.max_items"),
		&userv1.UpdateUserRequest{Update: &userv1.UserUpdate{AddRoles: empty, RemoveRoles: empty}}: invalid("update.add_roles", "repeated.max_items"),
		&userv1.BatchGetUsersRequest{UserIds: empty}:                                               invalid("user_ids", "repeated.max_items"),
		&userv1.BatchGetUsersRequest{UserIds: badIDs}:                                              invalid("user_ids[15]", "string.uuid_empty"),
	}
}

// An error names the first mistakes of a request, and how many more there are, in every
// protocol.
func TestErrorsAreBounded(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, nil)
	for _, protocol := range []protocol{grpcBinary, grpcJSON, grpcWeb, connectRPC, connectJSON} {
		t.Run(protocol.name, func(t *testing.T) {
			t.Parallel()
			client := running.Client(t, protocol.options...)
			for message, want := range faultyRequests() {
				err := send(t.Context(), client, message)
				checkNamed(t, err, want.over(protocol, badInput{}))
				checkToldBytes(t, err)
			}
		})
	}
}

// checkToldBytes checks how much an error says.
func checkToldBytes(t *testing.T, err error) {
	t.Helper()
	authored := new(connect.Error)
	if !errors.As(err, &authored) {
		t.Fatalf("error is %v", err)
	}
	told := len(authored.Message())
	for _, detail := range authored.Details() {
		told += len(detail.Value)
	}
	if told > maxToldBytes {
		t.Errorf("error has %d bytes, want at most %d", told, maxToldBytes)
	}
	for _, request := range details[*errdetails.BadRequest](t, authored) {
		if listed := len(request.GetFieldViolations()); listed > maxToldMistakes {
			t.Errorf("error lists %d mistakes, want at most %d", listed, maxToldMistakes)
		}
	}
	if !strings.Contains(authored.Message(), "; and ") || !strings.HasSuffix(authored.Message(), " more") {
		t.Errorf("error does not say how many mistakes are left out: %.100s", authored.Message())
	}
}

// What streams say of each of their rows is bounded too.
func TestRowErrorsAreBounded(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, nil)
	client := running.Client(t, grpcBinary.options...)
	roles := make([]string, 15_000)
	rows := make([]*userv1.CreateUserRequest, 3)
	updates := make([]*userv1.UserUpdate, 3)
	for i := range rows {
		rows[i] = &userv1.CreateUserRequest{Roles: roles}
		updates[i] = &userv1.UserUpdate{AddRoles: roles, RemoveRoles: roles}
	}
	imported, err := importRows(t.Context(), client, rows)
	if err != nil {
		t.Fatal(err)
	}
	for _, failed := range imported.GetFailures() {
		checkRowError(t, failed.GetReason(), failed.GetMessage(), "email")
	}
	answers, err := sendUpdates(t.Context(), client, updates)
	if err != nil {
		t.Fatal(err)
	}
	for _, answer := range answers {
		checkRowError(t, answer.GetReason(), answer.GetErrorMessage(), "user_id")
	}
	if len(imported.GetFailures()) != len(rows) || len(answers) != len(updates) {
		t.Errorf("%d rows and %d updates are answered", len(imported.GetFailures()), len(answers))
	}
}

func checkRowError(t *testing.T, reason userv1.Reason, message, field string) {
	t.Helper()
	if reason != userv1.Reason_REASON_INVALID_FIELD || !strings.HasPrefix(message, field+": ") || !strings.HasSuffix(message, " more") {
		t.Errorf("row fails with %s: %.100s", reason, message)
	}
	if len(message) > 1<<10 {
		t.Errorf("error of one row has %d bytes", len(message))
	}
}

// TestManyFaultyRequests measures the whole process: nothing else may run.
func TestManyFaultyRequests(t *testing.T) { // Alone: it measures.
	const (
		requests = 150
		// perRequest is what each may allocate, the client's part included: the encoded
		// request, and its texts once more.
		perRequest = 6 << 20
	)
	running := servertest.Start(t, nil)
	client := running.Client(t, grpcBinary.options...)
	request := &userv1.CreateUserRequest{Roles: make([]string, mistakes)}
	checkNamed(t, send(t.Context(), client, request), invalid("roles", "repeated.max_items"))
	before := allocated()
	var all sync.WaitGroup
	failed := make(chan error, requests)
	for range requests {
		all.Go(func() {
			if err := send(t.Context(), client, request); connect.CodeOf(err) != connect.CodeInvalidArgument {
				failed <- fmt.Errorf("error is %w", err)
			}
		})
	}
	all.Wait()
	close(failed)
	for err := range failed {
		t.Error(err)
	}
	if each := (allocated() - before) / requests; each > perRequest {
		t.Errorf("refusing one allocates %d bytes, want at most %d", each, perRequest)
	}
}
