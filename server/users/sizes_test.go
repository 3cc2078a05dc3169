package users

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"buf.build/go/protovalidate"
	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/server/failure"
	"github.com/example/userd/server/rules"
	"github.com/example/userd/server/wire"
	"github.com/example/userd/store"
)

// clientLimit is the largest message that clients of gRPC take, if they are told nothing else.
const clientLimit = 4 << 20

// checkSize checks that clients take a response, and would if it had grown by some bytes.
func checkSize(t *testing.T, response proto.Message, room int) {
	t.Helper()
	if size := proto.Size(response); size > clientLimit-room {
		t.Errorf("%T has %d bytes, and clients take %d: there is to be room for %d", response, size, clientLimit, room)
	}
}

// largestUser is a user with all that one can have.
func largestUser(t *testing.T) *userv1.User {
	t.Helper()
	label := strings.Repeat("x", 61)
	request := &userv1.CreateUserRequest{
		Email:       strings.Repeat("x", 64) + "@" + strings.Join([]string{label, label, label, "com"}, "."),
		DisplayName: strings.Repeat("𝒳", 200),
		ExternalId:  strings.Repeat("x", 255),
		Attributes:  make(map[string]string),
	}
	for i := range store.MaxRoles {
		request.Roles = append(request.Roles, strings.Repeat("r", 61)+fmt.Sprint(10+i))
	}
	for i := range store.MaxAttributes {
		request.Attributes[fmt.Sprint("a", 10+i)] = strings.Repeat("x", store.MaxAttributeBytes/store.MaxAttributes-3)
	}
	if err := rules.New().Validate(request); err != nil {
		t.Fatal(err)
	}
	user := wire.NewUser(request).At(time.Now().Truncate(time.Second).Add(time.Microsecond))
	user.LastLogin, user.Disabled, user.Version = user.CreatedAt, true, math.MaxInt64
	return wire.ToProto(user)
}

// Responses with many users, or many rows, are small enough for all clients.
func TestLargestResponses(t *testing.T) {
	t.Parallel()
	const most = 100
	users := slices.Repeat([]*userv1.User{largestUser(t)}, most)
	token := strings.Repeat("x", 512)
	checkSize(t, &userv1.SearchUsersResponse{Users: users, NextPageToken: token}, clientLimit/2)
	checkSize(t, &userv1.BatchGetUsersResponse{Users: users}, clientLimit/2)
	checkSize(t, &userv1.BatchGetUsersResponse{MissingUserIds: slices.Repeat([]string{uuid.NewString()}, most)}, clientLimit/2)
}

// The largest import has as many failures as are listed, of the longest texts, and has created
// all other rows. There is little room left: another field for each row would not fit.
func TestLargestResponseOfAnImport(t *testing.T) {
	t.Parallel()
	i := newImporter(t.Context(), &importStore{room: failure.MaxImportRows}, everybody{}, nil)
	refusal := longestRefusal(t)
	for range failure.MaxImportRows - maxListedFailures {
		i.add(store.NewUser{ID: uuid.NewString(), Email: "ada@example.com"})
	}
	for range maxListedFailures {
		i.reject(refusal)
	}
	if err := i.finish(); err != nil {
		t.Fatal(err)
	}
	if created, failed := len(i.response.GetCreatedUserIds()), len(i.response.GetFailures()); created+failed != failure.MaxImportRows {
		t.Fatalf("%d rows are created and %d failures listed", created, failed)
	}
	checkSize(t, i.response, 0)
}

// longestRefusal is the longest there is of a row that breaks rules.
func longestRefusal(t *testing.T) failure.Status {
	t.Helper()
	future := timestamppb.New(time.Now().Add(time.Hour))
	request := &userv1.CreateUserRequest{
		Email: "x", DisplayName: "\x00", UserId: "x", ExternalId: "\x00", CreatedAt: future, LastLogin: future, OnConflict: 99,
		Attributes: make(map[string]string),
	}
	for n := range 40 {
		request.Roles = append(request.Roles, "R")
		request.Attributes[fmt.Sprint("A", n)] = "\x00" + strings.Repeat("x", 1024)
	}
	invalid := invalidMessage(rules.New().Validate(request))
	if invalid == nil {
		t.Fatal("the row is valid")
	}
	size := func(v *protovalidate.Violation) int {
		return len(failure.InvalidRow(t.Context(), &protovalidate.ValidationError{Violations: []*protovalidate.Violation{v}}).Text)
	}
	longest := slices.MaxFunc(invalid.Violations, func(a, b *protovalidate.Violation) int { return cmp.Compare(size(a), size(b)) })
	return failure.InvalidRow(t.Context(), &protovalidate.ValidationError{Violations: slices.Repeat([]*protovalidate.Violation{longest}, 200)})
}
