package wire

import (
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/store"
)

// Users have times to the microsecond. A search by a time between two of them finds those who
// are on its side of it.
func TestQueryByTimesBetweenMicroseconds(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 1000, time.UTC)
	for nanos, want := range map[time.Duration]time.Time{0: at, 1: at.Add(time.Microsecond), 999: at.Add(time.Microsecond)} {
		asked := timestamppb.New(at.Add(nanos))
		query := ToQuery(&userv1.SearchUsersRequest{CreatedAfter: asked, CreatedBefore: asked, InactiveSince: asked})
		for name, got := range map[string]time.Time{
			"created after": query.CreatedAfter, "created before": query.CreatedBefore, "inactive since": query.InactiveSince,
		} {
			if !got.Equal(want) {
				t.Errorf("%s %v is %v, want %v", name, asked.AsTime(), got, want)
			}
		}
	}
	if query := ToQuery(new(userv1.SearchUsersRequest)); query.Filters() || !query.CreatedAfter.IsZero() || !query.CreatedBefore.IsZero() {
		t.Errorf("without times the query is %+v", query)
	}
}

// What is appended is what a deterministic proto.Marshal makes of the same user.
func FuzzEncodeUser(f *testing.F) {
	for _, u := range testUsers() {
		f.Add(u.ID, u.Email, u.DisplayName, strings.Join(u.Roles, "\n"), u.CreatedAt.Unix(), u.UpdatedAt.Unix(), u.LastLogin.Unix(), u.CreatedAt.Nanosecond(), u.Version, u.Disabled, u.ExternalID, toMap(u.Attributes)["a"])
	}
	f.Fuzz(func(t *testing.T, id, email, name, roles string, created, updated, login int64, nanos int, version int64, disabled bool, externalID, attribute string) {
		user := store.User{ID: id, Email: email, DisplayName: name, Version: version}
		user.CreatedAt, user.UpdatedAt, user.LastLogin = time.Unix(created, int64(nanos)), time.Unix(updated, 0), time.Unix(login, 1)
		user.Disabled, user.ExternalID = disabled, externalID
		if attribute != "" {
			user.Attributes = store.SortedAttributes([]store.Attribute{{Name: "a" + attribute, Value: name}, {Name: "a", Value: attribute}})
		}
		if roles != "" {
			user.Roles = strings.Split(roles, "\n")
		}
		want, err := proto.MarshalOptions{Deterministic: true}.Marshal(ToProto(user))
		if err != nil {
			return // It is not UTF-8.
		}
		got := encodeUser(user)
		if !slices.Equal(got, want) {
			t.Errorf("%+v is encoded as %x, want %x", user, got, want)
		}
		again, err := DecodeUser(got)
		if err != nil || !slices.Equal(encodeUser(again), got) {
			t.Errorf("%+v is decoded as %+v, error %v", user, again, err)
		}
	})
}
