package population_test

import (
	"bytes"
	"testing"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"

	"github.com/example/userd/cmd/userbench/population"
	userv1 "github.com/example/userd/gen/user/v1"
)

func TestUsersAreValidAndOfTheirSize(t *testing.T) {
	t.Parallel()
	users := population.New(1, 100)
	for i := range users.Len() {
		if err := protovalidate.Validate(users.Row(i)); err != nil {
			t.Fatal(err)
		}
		if got := proto.Size(users.User(i)); got < population.Size-8 || got > population.Size {
			t.Fatalf("a user of %d bytes has %d", population.Size, got)
		}
	}
}

func TestUsersAreWrittenInOrder(t *testing.T) {
	t.Parallel()
	users := population.New(1, 3)
	var file bytes.Buffer
	if err := users.Write(&file); err != nil {
		t.Fatal(err)
	}
	for i := range users.Len() {
		read := new(userv1.User)
		if err := protodelim.UnmarshalFrom(&file, read); err != nil || !proto.Equal(read, users.User(i)) {
			t.Fatalf("user %d: %v, %v", i, read, err)
		}
	}
	if file.Len() > 0 {
		t.Errorf("%d bytes behind the last user", file.Len())
	}
}

func TestKindsShareNoUser(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for kind := range uint64(3) {
		users := population.New(kind, 1000)
		for i := range users.Len() {
			if seen[users.ID(i)] || seen[users.Email(i)] {
				t.Fatalf("user %d of kind %d is there twice", i, kind)
			}
			seen[users.ID(i)], seen[users.Email(i)] = true, true
		}
	}
}
