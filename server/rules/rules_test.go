package rules

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	userv1 "github.com/example/userd/gen/user/v1"
)

const testUUID = "7D0f6a52-6b1c-4c11-9d5f-3a8f1c2b4e5d"

// acceptable are messages of each kind that accepted knows, made of these texts.
func acceptable(id, email, name, roles, others string, number int64, externalID, attributes string) []proto.Message {
	update := &userv1.UserUpdate{UserId: id, DisplayName: &name, AddRoles: split(roles), RemoveRoles: split(others), ExpectedVersion: &number}
	moved := &userv1.CreateUserRequest{
		Email: email, DisplayName: "Ada", ExternalId: externalID, Attributes: pairs(attributes), Disabled: true,
		CreatedAt: &timestamppb.Timestamp{Seconds: number}, LastLogin: &timestamppb.Timestamp{Seconds: number},
	}
	return []proto.Message{
		moved,
		&userv1.GetUserByExternalIdRequest{ExternalId: externalID},
		&userv1.UserUpdate{UserId: id, Email: &email, ExternalId: &externalID, SetAttributes: pairs(attributes)},
		&userv1.GetUserRequest{UserId: id, MinVersion: number},
		&userv1.BatchGetUsersRequest{UserIds: split(others)},
		&userv1.BatchGetUsersRequest{UserIds: append(split(others), id)},
		&userv1.GetUserByEmailRequest{Email: email},
		&userv1.ListUsersRequest{PageSize: int32(number), PageToken: name},
		&userv1.ListUsersRequest{PageSize: int32(number), PageToken: name, All: true},
		&userv1.CreateUserRequest{Email: email, DisplayName: name, Roles: split(roles), UserId: id},
		update,
		&userv1.UserUpdate{UserId: id, RemoveRoles: split(roles)},
		&userv1.UpdateUserRequest{Update: update},
		&userv1.UpdateUserRequest{},
	}
}

func split(texts string) []string {
	if texts == "" {
		return nil
	}
	return strings.Split(texts, ",")
}

// pairs are attributes, each as NAME=VALUE.
func pairs(texts string) map[string]string {
	attributes := make(map[string]string)
	for _, text := range split(texts) {
		name, value, _ := strings.Cut(text, "=")
		attributes[name] = value
	}
	return attributes
}

// What is accepted is what protovalidate accepts. Only a text with U+FFFD is left
// to it, which is also how what is not UTF-8 looks.
func FuzzAccepted(f *testing.F) {
	long := func(text string, count int) string { return strings.Repeat(text, count) }
	label := long("a", 63)
	for _, id := range []string{testUUID, "", testUUID[1:], testUUID + "0", testUUID[:35] + "g", strings.ReplaceAll(testUUID, "-", "0"), testUUID[:9] + "-" + testUUID[10:], "{" + testUUID[2:] + "}", testUUID[:35] + "\n"} {
		f.Add(id, "ada@example.com", "Ada", "admin", testUUID+","+id, int64(1), "sub|1", "tenant=blue")
	}
	for _, email := range []string{
		"", "@", "a@", "@a", "a@b", "A.!#$%&'*+/=?^_`{|}~-9@Example.COM", "a@-b", "a@b-", "a@b-c", "a@b..c", "a@.b", "a@b.", "a@b_c", "a b@c", "a@b@c", "ä@b", "a@ä", "<a@b>", "a@b\n",
		"a@" + label, "a@" + label + "a", "a@" + label + "." + label + "." + label + "." + long("b", 60), "a@" + label + "." + label + "." + label + "." + long("b", 61), long("a", 252) + "@b", long("a", 253) + "@b",
	} {
		f.Add(testUUID, email, "Ada", "", "", int64(0), "sub|1", "tenant=blue")
	}
	for _, name := range []string{"", " ", "Ada Lovelace", "Åsa 👩‍💻", "a\tb", "\x00", "\x1f", "\x7f", "\u0080", "\u009f", "\u00a0", "\u2028", "\ufffd", "\xff", long("é", 200), long("é", 201), long("👩", 200), long("👩", 201), long("t", 512), long("t", 513)} {
		f.Add(testUUID, "ada@example.com", name, "", "", int64(-1), "sub|1", "tenant=blue")
	}
	for _, number := range []int64{math.MinInt32, -1, 100, 101, math.MaxInt32} {
		f.Add(testUUID, "ada@example.com", "Ada", "", "", number, "sub|1", "tenant=blue")
	}
	var many []string
	for i := range 101 {
		many = append(many, fmt.Sprint("r", i))
	}
	for _, roles := range []string{"a", "A", "1a", "a,b", "a,a", ",", "a_.:-9", "a b", "ä", "a\n", long("a", 63), long("a", 64), strings.Join(many[:32], ","), strings.Join(many[:33], ","), long(testUUID+",", 99) + testUUID} {
		f.Add(testUUID, "ada@example.com", "Ada", roles, "a,z", int64(math.MaxInt64), "sub|1", "tenant=blue")
		f.Add(testUUID, "ada@example.com", "Ada", "a", roles, int64(math.MinInt64), "sub|1", "tenant=blue")
	}
	for _, externalID := range []string{"", " ", "a\n", "\x7f", "\u0085", "é", "\ufffd", long("é", 127) + "a", long("é", 128), long("a", 255), long("a", 256)} {
		f.Add(testUUID, "ada@example.com", "Ada", "", "", int64(0), externalID, "")
	}
	var names, values []string
	for i := range 33 {
		names, values = append(names, fmt.Sprint("a", i)), append(values, fmt.Sprintf("%c%d=%s", 'a'+i%26, i, long("x", 1000)))
	}
	for _, attributes := range []string{
		"a", "=b", "A=b", "a:b=c", "a_.-9=", "1=a", "é=a", "a=\x00", "a=\n\u0085", "a=\ufffd", long("a", 63) + "=b", long("a", 64) + "=b",
		"a=" + long("x", 1024), "a=" + long("x", 1025), "a=" + long("é", 512), "a=" + long("é", 513), strings.Join(names[:32], ","), strings.Join(names, ","),
		strings.Join(values[:8], ","), strings.Join(values[:9], ","),
	} {
		f.Add(testUUID, "ada@example.com", "Ada", "", "", int64(0), "", attributes)
	}
	rules, err := protovalidate.New()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, id, email, name, roles, others string, number int64, externalID, attributes string) {
		for _, message := range acceptable(id, email, name, roles, others, number, externalID, attributes) {
			wire, err := proto.Marshal(message)
			if err != nil {
				continue // It is not UTF-8, which no codec lets in.
			}
			want := rules.Validate(message)
			if got := accepted(message); got && want != nil || !got && want == nil && !strings.Contains(string(wire), "\ufffd") {
				t.Errorf("%T %v is accepted: %v, protovalidate says: %v", message, message, got, want)
			}
		}
	})
}
