package wire

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	userv1 "github.com/example/userd/gen/user/v1"
)

const testUUID = "7D0f6a52-6b1c-4c11-9d5f-3a8f1c2b4e5d"

// plainRequests are messages that decodeProto knows.
var plainRequests = []proto.Message{
	&userv1.GetUserRequest{UserId: testUUID},
	&userv1.GetUserRequest{UserId: strings.ToUpper(testUUID), MinVersion: 1},
	&userv1.CreateUserRequest{Email: "ada@example.com", DisplayName: "Åsa", Roles: []string{"admin", "", "reader"}, UserId: testUUID},
	&userv1.CreateUserRequest{Email: "ada@example.com", ExternalId: "sub|1", Attributes: map[string]string{"tenant": "blue", "locale": "é", "none": ""}},
	&userv1.CreateUserRequest{Email: "ada@example.com", CreatedAt: &timestamppb.Timestamp{Seconds: 1 << 31, Nanos: 1e9 - 1}, LastLogin: &timestamppb.Timestamp{}},
	&userv1.CreateUserRequest{CreatedAt: &timestamppb.Timestamp{Seconds: -1}, LastLogin: &timestamppb.Timestamp{Nanos: -1}},
	&userv1.CreateUserRequest{Email: "ada@example.com", Disabled: true, OnConflict: userv1.OnConflict_ON_CONFLICT_UPDATE},
	&userv1.UserUpdate{UserId: testUUID, DisplayName: proto.String("Åsa"), ExpectedVersion: proto.Int64(1 << 40)},
	&userv1.UserUpdate{UserId: testUUID, AddRoles: []string{"admin", ""}, RemoveRoles: []string{"reader"}},
	&userv1.UserUpdate{UserId: testUUID, Email: proto.String(""), ExternalId: proto.String("sub|1"), ExpectedVersion: proto.Int64(-1)},
	&userv1.UserUpdate{},
	&userv1.CreateUserRequest{DisplayName: strings.Repeat("å", 200), Roles: make([]string, 10)},
}

func TestDecodeProtoKnowsWhatCallersSend(t *testing.T) {
	t.Parallel()
	for _, message := range plainRequests {
		data, err := proto.Marshal(message)
		if err != nil {
			t.Fatal(err)
		}
		got := message.ProtoReflect().New().Interface()
		if !decodeProto(data, got) || !proto.Equal(got, message) {
			t.Errorf("%v is decoded as %v", message, got)
		}
	}
}

// A message that is decoded here is decoded the same by package proto.
func FuzzDecodeProto(f *testing.F) {
	for _, message := range append(plainRequests, &userv1.GetUserRequest{UserId: "x"}, &userv1.GetUserRequest{}) {
		data, err := proto.Marshal(message)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		f.Add(append(data, data...))
		f.Add(data[:len(data)/2])
	}
	f.Add([]byte("\x0a\x02\xc3\xa5\x0a\x01\xc3\x12\x01\xa5")) // A character in two halves, in two fields.
	f.Add([]byte("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x"))
	f.Add([]byte("\x8a\x01\x01x"))
	f.Add([]byte("\x42\x04\x08\x01\x10\x02\x42\x02\x08\x03\x4a\x04\x10\x01\x08\x02\x4a\x02\x18\x01")) // Times in parts.
	f.Add([]byte("\x38\x02\x50\x7f\x38\x81\x00\x0a\x01\xc3\x50\xa5\x01"))                             // Numbers of all kinds.
	f.Add([]byte("\x32\x06\x0a\x01a\x12\x01b\x32\x06\x0a\x01a\x12\x01c"))                             // A name twice.
	f.Add([]byte("\x32\x06\x12\x01b\x0a\x01a\x32\x03\x0a\x01b\x32\x00"))
	f.Add([]byte("\x32\x06\x0a\x01\xc3\x12\x01\xa5"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for got, want := range map[proto.Message]proto.Message{
			new(userv1.GetUserRequest):    new(userv1.GetUserRequest),
			new(userv1.CreateUserRequest): new(userv1.CreateUserRequest),
			new(userv1.UserUpdate):        new(userv1.UserUpdate),
		} {
			if !decodeProto(data, got) {
				continue
			}
			if err := proto.Unmarshal(data, want); err != nil || !proto.Equal(got, want) {
				t.Errorf("%q is decoded as %v, package proto: %v, %v", data, got, want, err)
			}
		}
	})
}

func BenchmarkDecodeProto(b *testing.B) {
	data, err := proto.Marshal(&userv1.CreateUserRequest{
		Email: "ada@example.com", DisplayName: "Ada Lovelace", Roles: []string{"admin", "reader"}, UserId: testUUID,
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if !decodeProto(data, new(userv1.CreateUserRequest)) {
			b.Fatal("not decoded")
		}
	}
}
