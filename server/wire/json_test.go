package wire

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/example/userd/cache"
	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/store"
)

// testUsers are users of every form.
func testUsers() []store.User {
	created := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return []store.User{
		{},
		{ID: testUUID, Email: "ada@example.com", DisplayName: "Ada Lovelace", CreatedAt: created, UpdatedAt: created, Roles: []string{"admin", "reader"}, Version: 7},
		{DisplayName: "\"\\\b\f\n\r\t\x00\x1f/<>&\u2028 Åsa \"👩\" \\", Roles: []string{"", ","}, LastLogin: created.Add(120 * time.Millisecond), Version: -1},
		{DisplayName: "å", CreatedAt: created.Add(time.Nanosecond), UpdatedAt: created.Add(time.Microsecond), LastLogin: created.Add(999_999_999)},
		{CreatedAt: time.Unix(minSeconds, 0), UpdatedAt: time.Unix(maxSeconds, maxNanos), LastLogin: time.Unix(0, 0)},
		{ID: testUUID, Disabled: true, ExternalID: "https://id.example.com/|\"1\"", Attributes: []store.Attribute{{Name: "a", Value: "\"\\é"}, {Name: "b"}, {Name: "b.c", Value: strings.Repeat("x", 300)}}},
		{Attributes: []store.Attribute{{Name: "", Value: ""}}, Version: 1},
		{CreatedAt: time.Unix(minSeconds-1, 0), UpdatedAt: time.Unix(maxSeconds+1, 0)},
	}
}

// What is encoded here is what protojson makes of the same bytes, and what protojson
// reads.
func FuzzUserJSON(f *testing.F) {
	for _, user := range testUsers() {
		data := encodeUser(user)
		f.Add(data)
		f.Add(data[:len(data)/2])
		f.Add(append(data, data...))                                                          // No field once.
		f.Add(protowire.AppendVarint(protowire.AppendTag(data, 99, protowire.VarintType), 1)) // A field of tomorrow.
	}
	f.Add(protowire.AppendString(protowire.AppendTag(nil, fieldID, protowire.BytesType), "\xff"))
	f.Add(protowire.AppendVarint(protowire.AppendTag(nil, fieldEmail, protowire.VarintType), 1))
	f.Add([]byte{0x22, 0x02, 0x10, 0x01, 0x3a, 0x00})
	f.Fuzz(func(t *testing.T, data []byte) {
		text, ok := appendUserJSON(nil, data)
		if !ok {
			return
		}
		var want, got userv1.User
		if err := proto.Unmarshal(data, &want); err != nil {
			t.Fatalf("%q is encoded, but no user: %v", data, err)
		}
		canonical, err := protojson.Marshal(&want)
		if err != nil {
			t.Fatalf("%q is encoded as %s, but protojson says: %v", data, text, err)
		}
		if want := compact(t, canonical); string(text) != want {
			t.Errorf("JSON is %s, want %s", text, want)
		}
		if err := protojson.Unmarshal(text, &got); err != nil || !proto.Equal(&got, &want) {
			t.Errorf("JSON %s is read as %v, error %v, want %v", text, &got, err, &want)
		}
	})
}

// compact is JSON without the spaces that protojson puts into it.
func compact(tb testing.TB, text []byte) string {
	tb.Helper()
	var out bytes.Buffer
	if err := json.Compact(&out, text); err != nil {
		tb.Fatalf("%s: %v", text, err)
	}
	return out.String()
}

// All users of this server take the short way, but for times that are none.
func TestUsersAreEncodedFast(t *testing.T) {
	t.Parallel()
	for _, user := range testUsers() {
		_, ok := appendUserJSON(nil, encodeUser(user))
		if want := user.CreatedAt.Unix() >= minSeconds; ok != want {
			t.Errorf("%+v is encoded: %v, want %v", user, ok, want)
		}
	}
}

func TestEncodedResponses(t *testing.T) {
	t.Parallel()
	users := testUsers()
	entry := func(user store.User) cache.Entry { return cache.Entry{Data: encodeUser(user), Found: true} }
	newer := entry(users[1])
	newer.Data = protowire.AppendVarint(protowire.AppendTag(slices.Clip(newer.Data), 99, protowire.VarintType), 1)
	for name, response := range map[string]EncodedResponse{
		"user":           &EncodedUser{entry(users[1])},
		"nobody":         &EncodedUser{},
		"tomorrow's":     &EncodedUser{newer},
		"users":          &EncodedUsers{Found: []cache.Entry{entry(users[1]), entry(users[2])}},
		"some":           &EncodedUsers{Found: []cache.Entry{entry(users[1])}, Missing: []string{"a", "b"}},
		"none":           &EncodedUsers{Missing: []string{"a"}},
		"empty":          &EncodedUsers{},
		"listed":         &ListedUser{entry(users[1]).Data},
		"updated":        &UpdatedUser{entry(users[2]).Data},
		"one tomorrow's": &EncodedUsers{Found: []cache.Entry{entry(users[1]), newer}},
	} {
		want := response.message()
		if err := proto.Unmarshal(response.appendProto(nil), want); err != nil {
			t.Fatal(err)
		}
		for _, codec := range Codecs() {
			var encoded, expected strings.Builder
			if err := codec.MarshalWrite(t.Context(), &encoded, response); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if codec.Name() == "proto" {
				continue
			}
			if err := codec.MarshalWrite(t.Context(), &expected, want); err != nil {
				t.Fatal(err)
			}
			if canonical, err := protojson.Marshal(want); err != nil || encoded.String() != compact(t, canonical)+"\n" || encoded.String() != expected.String() {
				t.Errorf("%s is encoded as %s, want %s, error %v", name, &encoded, &expected, err)
			}
		}
	}
}

// A request that is read here is read the same by protojson.
func FuzzDecodeJSON(f *testing.F) {
	for _, text := range []string{
		`{"userId":"` + testUUID + `"}`, " {\n\t\"user_id\" : \"" + testUUID + "\"\r\n} ", `{"userId":"` + testUUID + `"}}`, `{"userId":"` + testUUID + `","minVersion":"1"}`,
		`{"userId":"` + testUUID + `"`, `{"userId":"x"}`, `{"userId" "` + testUUID + `"}`, `"userId":"` + testUUID + `"}`, `{}`, ``, `{"userId":"` + testUUID + `",}`, `{"userid":"` + testUUID + `"}`,
		`{"userId":"` + testUUID[:35] + `\u0061"}`, "{\"userId\":\"" + testUUID + "\"}\x00", "\ufeff{\"userId\":\"" + testUUID + "\"}",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got := &userv1.GetUserRequest{MinVersion: 1}
		if !decodeJSON(text, got) {
			return
		}
		var want userv1.GetUserRequest
		if err := protojson.Unmarshal(text, &want); err != nil || !proto.Equal(got, &want) {
			t.Errorf("%q is read as %v, protojson reads %v, error %v", text, got, &want, err)
		}
	})
}

func BenchmarkUserJSON(b *testing.B) {
	data := encodeUser(testUsers()[1])
	var text []byte
	b.ReportAllocs()
	for b.Loop() {
		text, _ = appendUserJSON(text[:0], data)
	}
}
