package server_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"connectrpc.com/connect/v2/connectproto"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/server"
	"github.com/example/userd/server/servertest"
	"github.com/example/userd/store"
)

const (
	someID  = "11111111-1111-4111-8111-111111111111"
	otherID = "22222222-2222-4222-8222-222222222222"
	nobody  = "99999999-9999-4999-8999-999999999999"
)

// badInput is a request that is refused. It starts with a message, which body and
// packed replace on the wire.
type badInput struct {
	name     string
	message  proto.Message
	want     failure
	body     string // For JSON and binary alike unless JSON only.
	jsonOnly bool
	encoding string // Compression of packed.
	packed   []byte
	path     string // Procedure to call instead of the message's own.
}

// isLarge says that the input is large, or is when it is unpacked: of several at a time a
// server refuses some because they are.
func (i badInput) isLarge() bool { return len(i.packed) > 0 || proto.Size(i.message) > 1<<20 }

func invalid(field, rule string) failure {
	return failure{code: connect.CodeInvalidArgument, reason: userv1.Reason_REASON_INVALID_FIELD, field: field, rule: rule}
}

func malformed(field string) failure {
	return describedByReason(connect.CodeInvalidArgument, userv1.Reason_REASON_MALFORMED_REQUEST, field)
}

// describedByReason is a failure whose violation has the reason of the whole.
func describedByReason(code connect.Code, reason userv1.Reason, field string) failure {
	want := failure{code: code, reason: reason, field: field}
	if field != "" {
		want.rule = strings.TrimPrefix(reason.String(), "REASON_")
	}
	return want
}

func numberedRoles(count int) []string {
	roles := make([]string, count)
	for i := range roles {
		roles[i] = fmt.Sprintf("role%d", i)
	}
	return roles
}

func numberedAttributes(count int, value string) map[string]string {
	attributes := make(map[string]string, count)
	for i := range count {
		attributes[fmt.Sprintf("a%d", i)] = value
	}
	return attributes
}

func repeatedID(count int) []string {
	ids := make([]string, count)
	for i := range ids {
		ids[i] = nobody
	}
	return ids
}

// brokenRules breaks every rule of every field of the requests.
func brokenRules() []badInput {
	const (
		badID   = private
		badRole = "Hush"
		control = "hush\x07"
	)
	long := func(n int) string { return strings.Repeat("h", n) }
	longEmail := long(60) + "@" + strings.Repeat(long(40)+".", 5) + "com"
	name := func(s string) *userv1.CreateUserRequest {
		return &userv1.CreateUserRequest{Email: testEmail(1), DisplayName: s}
	}
	roles := func(roles ...string) *userv1.CreateUserRequest {
		return &userv1.CreateUserRequest{Email: testEmail(1), DisplayName: testName(1), Roles: roles}
	}
	email := func(s string) *userv1.CreateUserRequest {
		return &userv1.CreateUserRequest{Email: s, DisplayName: testName(1)}
	}
	update := func(update *userv1.UserUpdate) *userv1.UpdateUserRequest {
		update.UserId = someID
		return &userv1.UpdateUserRequest{Update: update}
	}
	external := func(s string) *userv1.CreateUserRequest {
		return &userv1.CreateUserRequest{Email: testEmail(1), DisplayName: testName(1), ExternalId: s}
	}
	attributes := func(attributes map[string]string) *userv1.CreateUserRequest {
		return &userv1.CreateUserRequest{Email: testEmail(1), DisplayName: testName(1), Attributes: attributes}
	}
	moved := func(created, login time.Time) *userv1.CreateUserRequest {
		return &userv1.CreateUserRequest{
			Email: testEmail(1), DisplayName: testName(1), CreatedAt: timestamppb.New(created), LastLogin: timestamppb.New(login),
		}
	}
	early := timestamppb.New(time.Unix(-1, 0))
	past, future := time.Unix(1e9, 0), time.Now().Add(time.Hour)
	at := func(at time.Time) *userv1.RecordLoginRequest {
		return &userv1.RecordLoginRequest{UserId: someID, At: timestamppb.New(at)}
	}
	return []badInput{
		{name: "get/empty id", message: &userv1.GetUserRequest{}, want: invalid("user_id", "string.uuid_empty")},
		{name: "get/id", message: &userv1.GetUserRequest{UserId: badID}, want: invalid("user_id", "string.uuid")},
		{name: "get/min_version", message: &userv1.GetUserRequest{UserId: someID, MinVersion: -1}, want: invalid("min_version", "int64.gte")},

		{name: "list/page_size -1", message: &userv1.ListUsersRequest{PageSize: -1}, want: invalid("page_size", "page_size.range")},
		{name: "list/page_size 101", message: &userv1.ListUsersRequest{PageSize: 101}, want: invalid("page_size", "page_size.range")},
		{name: "list/page_token", message: &userv1.ListUsersRequest{PageToken: long(513)}, want: invalid("page_token", "string.max_bytes")},

		{name: "create/empty email", message: email(""), want: invalid("email", "string.email_empty")},
		{name: "create/email without domain", message: email(private), want: invalid("email", "string.email")},
		{name: "create/email with name", message: email("Hush <hush@example.com>"), want: invalid("email", "string.email")},
		{name: "create/long email", message: email(longEmail), want: invalid("email", "string.max_bytes")},
		{name: "create/empty name", message: name(""), want: invalid("display_name", "string.min_len")},
		{name: "create/long name", message: name(strings.Repeat("é", 201)), want: invalid("display_name", "string.max_len")},
		{name: "create/control character", message: name(control), want: invalid("display_name", "display_name.control_characters")},
		{name: "create/C1 control character", message: name("hush\u0085"), want: invalid("display_name", "display_name.control_characters")},
		{name: "create/role", message: roles("reader", badRole), want: invalid("roles[1]", "string.pattern")},
		{name: "create/empty role", message: roles(""), want: invalid("roles[0]", "string.pattern")},
		{name: "create/long role", message: roles(long(64)), want: invalid("roles[0]", "string.pattern")},
		{name: "create/role with newline", message: roles("reader\n"), want: invalid("roles[0]", "string.pattern")},
		{name: "create/duplicate roles", message: roles("reader", "reader"), want: invalid("roles", "repeated.unique")},
		{name: "create/33 roles", message: roles(numberedRoles(33)...), want: invalid("roles", "repeated.max_items")},
		{name: "create/id", message: &userv1.CreateUserRequest{Email: testEmail(1), DisplayName: testName(1), UserId: badID}, want: invalid("user_id", "string.uuid")},

		{name: "create/long external id", message: external(long(256)), want: invalid("external_id", "string.max_bytes")},
		{name: "create/control character in external id", message: external(control), want: invalid("external_id", "external_id.control_characters")},
		{name: "create/name of an attribute", message: attributes(map[string]string{badRole: ""}), want: invalid("attributes", "string.pattern")},
		{name: "create/empty name of an attribute", message: attributes(map[string]string{"": "hush"}), want: invalid("attributes", "string.pattern")},
		{name: "create/long value of an attribute", message: attributes(map[string]string{"a": long(1025)}), want: invalid("attributes", "string.max_bytes")},
		{name: "create/NUL in an attribute", message: attributes(map[string]string{"a": "hush\x00"}), want: invalid("attributes", "attributes.nul")},
		{name: "create/33 attributes", message: attributes(numberedAttributes(33, "")), want: invalid("attributes", "map.max_pairs")},
		{name: "create/attributes of 9 KiB", message: attributes(numberedAttributes(9, long(1024))), want: invalid("attributes", "attributes.size")},
		{name: "create/in the future", message: moved(future, past), want: invalid("created_at", "created_at.future")},
		{name: "create/before 1970", message: moved(time.Unix(-1, 0), past), want: invalid("created_at", "timestamp.gte")},
		{name: "create/login in the future", message: moved(past, future), want: invalid("last_login", "last_login.future")},
		{name: "create/login before 1970", message: moved(past, time.Unix(-1, 0)), want: invalid("last_login", "timestamp.gte")},

		{name: "create/on conflict", message: &userv1.CreateUserRequest{Email: testEmail(1), DisplayName: testName(1), OnConflict: 4}, want: invalid("on_conflict", "enum.defined_only")},

		{name: "update/empty", message: &userv1.UpdateUserRequest{}, want: invalid("update", "required")},
		{name: "update/empty id", message: &userv1.UpdateUserRequest{Update: &userv1.UserUpdate{}}, want: invalid("update.user_id", "string.uuid_empty")},
		{name: "update/id", message: &userv1.UpdateUserRequest{Update: &userv1.UserUpdate{UserId: badID}}, want: invalid("update.user_id", "string.uuid")},
		{name: "update/empty name", message: update(&userv1.UserUpdate{DisplayName: proto.String("")}), want: invalid("update.display_name", "string.min_len")},
		{name: "update/long name", message: update(&userv1.UserUpdate{DisplayName: proto.String(long(201))}), want: invalid("update.display_name", "string.max_len")},
		{name: "update/control character", message: update(&userv1.UserUpdate{DisplayName: proto.String(control)}), want: invalid("update.display_name", "display_name.control_characters")},
		{name: "update/add role", message: update(&userv1.UserUpdate{AddRoles: []string{badRole}}), want: invalid("update.add_roles[0]", "string.pattern")},
		{name: "update/add duplicate roles", message: update(&userv1.UserUpdate{AddRoles: []string{"reader", "reader"}}), want: invalid("update.add_roles", "repeated.unique")},
		{name: "update/add 33 roles", message: update(&userv1.UserUpdate{AddRoles: numberedRoles(33)}), want: invalid("update.add_roles", "repeated.max_items")},
		{name: "update/remove role", message: update(&userv1.UserUpdate{RemoveRoles: []string{badRole}}), want: invalid("update.remove_roles[0]", "string.pattern")},
		{name: "update/remove duplicate roles", message: update(&userv1.UserUpdate{RemoveRoles: []string{"reader", "reader"}}), want: invalid("update.remove_roles", "repeated.unique")},
		{name: "update/remove 33 roles", message: update(&userv1.UserUpdate{RemoveRoles: numberedRoles(33)}), want: invalid("update.remove_roles", "repeated.max_items")},
		{
			name:    "update/add and remove one role",
			message: update(&userv1.UserUpdate{AddRoles: []string{"reader"}, RemoveRoles: []string{"writer", "reader"}}),
			want:    invalid("update.remove_roles", "remove_roles.disjoint"),
		},
		{name: "update/expected_version 0", message: update(&userv1.UserUpdate{ExpectedVersion: proto.Int64(0)}), want: invalid("update.expected_version", "int64.gte")},
		{name: "update/expected_version -1", message: update(&userv1.UserUpdate{ExpectedVersion: proto.Int64(-1)}), want: invalid("update.expected_version", "int64.gte")},

		{name: "update/empty email", message: update(&userv1.UserUpdate{Email: new("")}), want: invalid("update.email", "string.email_empty")},
		{name: "update/email", message: update(&userv1.UserUpdate{Email: new(private)}), want: invalid("update.email", "string.email")},
		{name: "update/long email", message: update(&userv1.UserUpdate{Email: new(longEmail)}), want: invalid("update.email", "string.max_bytes")},
		{name: "update/long external id", message: update(&userv1.UserUpdate{ExternalId: new(long(256))}), want: invalid("update.external_id", "string.max_bytes")},
		{name: "update/control character in external id", message: update(&userv1.UserUpdate{ExternalId: new(control)}), want: invalid("update.external_id", "external_id.control_characters")},
		{name: "update/name of an attribute", message: update(&userv1.UserUpdate{SetAttributes: map[string]string{badRole: ""}}), want: invalid("update.set_attributes", "string.pattern")},
		{name: "update/long value of an attribute", message: update(&userv1.UserUpdate{SetAttributes: map[string]string{"a": long(1025)}}), want: invalid("update.set_attributes", "string.max_bytes")},
		{name: "update/NUL in an attribute", message: update(&userv1.UserUpdate{SetAttributes: map[string]string{"a": "hush\x00"}}), want: invalid("update.set_attributes", "set_attributes.nul")},
		{name: "update/33 attributes", message: update(&userv1.UserUpdate{SetAttributes: numberedAttributes(33, "")}), want: invalid("update.set_attributes", "map.max_pairs")},
		{name: "update/attributes of 9 KiB", message: update(&userv1.UserUpdate{SetAttributes: numberedAttributes(9, long(1024))}), want: invalid("update.set_attributes", "set_attributes.size")},
		{name: "update/remove attribute", message: update(&userv1.UserUpdate{RemoveAttributes: []string{badRole}}), want: invalid("update.remove_attributes[0]", "string.pattern")},
		{name: "update/remove duplicate attributes", message: update(&userv1.UserUpdate{RemoveAttributes: []string{"a", "a"}}), want: invalid("update.remove_attributes", "repeated.unique")},
		{name: "update/remove 33 attributes", message: update(&userv1.UserUpdate{RemoveAttributes: numberedRoles(33)}), want: invalid("update.remove_attributes", "repeated.max_items")},
		{
			name:    "update/set and remove one attribute",
			message: update(&userv1.UserUpdate{SetAttributes: map[string]string{"a": "b"}, RemoveAttributes: []string{"b", "a"}}),
			want:    invalid("update.remove_attributes", "remove_attributes.disjoint"),
		},

		{name: "delete/id", message: &userv1.DeleteUserRequest{UserId: badID}, want: invalid("user_id", "string.uuid")},
		{name: "delete/expected_version", message: &userv1.DeleteUserRequest{UserId: someID, ExpectedVersion: proto.Int64(0)}, want: invalid("expected_version", "int64.gte")},

		{name: "login/id", message: &userv1.RecordLoginRequest{UserId: badID}, want: invalid("user_id", "string.uuid")},
		{name: "login/future", message: at(time.Now().Add(time.Hour)), want: invalid("at", "at.future")},
		{name: "login/before 1970", message: at(time.Unix(-1, 0)), want: invalid("at", "timestamp.gte")},

		{name: "batch get/id", message: &userv1.BatchGetUsersRequest{UserIds: []string{someID, badID}}, want: invalid("user_ids[1]", "string.uuid")},
		{name: "batch get/empty id", message: &userv1.BatchGetUsersRequest{UserIds: []string{""}}, want: invalid("user_ids[0]", "string.uuid_empty")},
		{name: "batch get/101 ids", message: &userv1.BatchGetUsersRequest{UserIds: repeatedID(101)}, want: invalid("user_ids", "repeated.max_items")},

		{name: "get by email/empty", message: &userv1.GetUserByEmailRequest{}, want: invalid("email", "string.email_empty")},
		{name: "get by email/email", message: &userv1.GetUserByEmailRequest{Email: private}, want: invalid("email", "string.email")},
		{name: "get by email/long", message: &userv1.GetUserByEmailRequest{Email: longEmail}, want: invalid("email", "string.max_bytes")},

		{name: "get by external id/empty", message: &userv1.GetUserByExternalIdRequest{}, want: invalid("external_id", "string.min_len")},
		{name: "get by external id/long", message: &userv1.GetUserByExternalIdRequest{ExternalId: long(256)}, want: invalid("external_id", "string.max_bytes")},
		{name: "get by external id/control character", message: &userv1.GetUserByExternalIdRequest{ExternalId: control}, want: invalid("external_id", "external_id.control_characters")},

		{name: "search/email_prefix", message: &userv1.SearchUsersRequest{EmailPrefix: long(255)}, want: invalid("email_prefix", "string.max_bytes")},
		{name: "search/name_contains", message: &userv1.SearchUsersRequest{NameContains: long(201)}, want: invalid("name_contains", "string.max_len")},
		{name: "search/role", message: &userv1.SearchUsersRequest{Role: badRole}, want: invalid("role", "string.pattern")},
		{name: "search/page_size -1", message: &userv1.SearchUsersRequest{PageSize: -1}, want: invalid("page_size", "int32.gte_lte")},
		{name: "search/page_size 101", message: &userv1.SearchUsersRequest{PageSize: 101}, want: invalid("page_size", "int32.gte_lte")},
		{name: "search/page_token", message: &userv1.SearchUsersRequest{PageToken: long(513)}, want: invalid("page_token", "string.max_bytes")},
		{name: "search/name of an attribute", message: &userv1.SearchUsersRequest{Attributes: map[string]string{badRole: ""}}, want: invalid("attributes", "string.pattern")},
		{name: "search/long value of an attribute", message: &userv1.SearchUsersRequest{Attributes: map[string]string{"a": long(1025)}}, want: invalid("attributes", "string.max_bytes")},
		{name: "search/NUL in an attribute", message: &userv1.SearchUsersRequest{Attributes: map[string]string{"a": "hush\x00"}}, want: invalid("attributes", "attributes.nul")},
		{name: "search/33 attributes", message: &userv1.SearchUsersRequest{Attributes: numberedAttributes(33, "")}, want: invalid("attributes", "map.max_pairs")},
		{name: "search/inactive before 1970", message: &userv1.SearchUsersRequest{InactiveSince: early}, want: invalid("inactive_since", "timestamp.gte")},
		{name: "search/created after before 1970", message: &userv1.SearchUsersRequest{CreatedAfter: early}, want: invalid("created_after", "timestamp.gte")},
		{name: "search/created before 1970", message: &userv1.SearchUsersRequest{CreatedBefore: early}, want: invalid("created_before", "timestamp.gte")},

		{name: "watch/cursor", message: &userv1.WatchUsersRequest{Cursor: long(64<<10 + 1)}, want: invalid("cursor", "string.max_bytes")},
	}
}

// impossibleTimes are times that the binary form of a Timestamp has room for.
func impossibleTimes() []badInput {
	now := time.Now().Unix()
	var inputs []badInput
	for name, at := range map[string]*timestamppb.Timestamp{
		"negative nanos":       {Seconds: now, Nanos: -1},
		"nanos of a second":    {Seconds: now, Nanos: 1_000_000_000},
		"least nanos":          {Seconds: now, Nanos: math.MinInt32},
		"before year 1":        {Seconds: -62_135_596_801},
		"after year 9999":      {Seconds: 253_402_300_800},
		"least seconds":        {Seconds: math.MinInt64},
		"most seconds":         {Seconds: math.MaxInt64, Nanos: math.MaxInt32},
		"before 1970 by nanos": {Nanos: -1},
	} {
		message := &userv1.RecordLoginRequest{UserId: someID, At: at}
		body, err := proto.Marshal(message)
		if err != nil {
			panic(err) // It has no text.
		}
		inputs = append(inputs, badInput{name: "time/" + name, message: message, body: string(body), want: invalid("at", "timestamp.valid")})
	}
	return inputs
}

// undecodable are requests that are not messages.
func undecodable() []badInput {
	user := newUserRequest(1)
	json := func(name, body string, want failure) badInput {
		return badInput{name: "json/" + name, message: user, body: body, jsonOnly: true, want: want}
	}
	unknown := func(field string) failure {
		return describedByReason(connect.CodeInvalidArgument, userv1.Reason_REASON_UNKNOWN_FIELD, field)
	}
	return []badInput{
		json("syntax", `{"email": "hush@example.com",`, malformed("")),
		json("not JSON", `hush@example.com`, malformed("")),
		json("array", `["hush@example.com"]`, malformed("")),
		json("number for string", `{"email": 17, "displayName": "Hush"}`, malformed("email")),
		json("string for number", `{"email": "hush@example.com", "roles": "hush"}`, malformed("roles")),
		json("number for roles", `{"email": "hush@example.com", "roles": [1]}`, malformed("roles")),
		json("twice", `{"email": "hush@example.com", "email": "hush@example.com"}`, malformed("email")),
		json("name of an enum", `{"attributes": {"hush": "hush"}, "on_conflict": "hush"}`, malformed("on_conflict")),
		json("part of a number of an enum", `{"on_conflict": 1.5}`, malformed("on_conflict")),
		json("half of a surrogate pair", `{"display_name": "hush\ud83d"}`, malformed("display_name")),
		json("number in a map", `{"attributes": {"hush": 17}}`, malformed("attributes")),
		json("map that is a list", `{"attributes": ["hush"]}`, malformed("attributes")),
		json("name twice in a map", `{"attributes": {"hush": "1", "hush": "2"}}`, malformed("attributes")),
		json("null in a list", `{"roles": [null]}`, malformed("roles")),
		json("null in a map", `{"attributes": {"hush": null}}`, malformed("attributes")),
		json("time before all", `{"createdAt": "0000-12-31T23:59:59Z"}`, malformed("createdAt")),
		json("time too exact", `{"createdAt": "2020-01-01T00:00:00.0123456789Z"}`, malformed("createdAt")),
		json("unknown field after a map", `{"attributes": {"hush": "hush"}, "phone": "hush"}`, unknown("phone")),
		json("unknown field", `{"email": "hush@example.com", "phone": "hush"}`, unknown("phone")),
		json("unknown field that is an email", `{"hush@example.com": 1}`, unknown("")),
		json("text like an error of a field", `"invalid value for hush@example.com field email: 1"`, malformed("")),
		json("invalid UTF-8", "{\"email\": \"hush\xff@example.com\"}", malformed("")),
		{
			name: "json/unknown nested field", message: &userv1.UpdateUserRequest{}, jsonOnly: true,
			body: `{"update": {"userId": "` + someID + `", "phone": "hush"}}`, want: unknown("update.phone"),
		},
		{
			name: "json/nested email that is unknown", message: &userv1.UpdateUserRequest{}, jsonOnly: true,
			body: `{"update": {"hush@example.com": 1}}`, want: unknown(""),
		},
		{
			name: "json/number in a nested field", message: &userv1.UpdateUserRequest{}, jsonOnly: true,
			body: `{"update": {"user_id": 1}}`, want: malformed("update.user_id"),
		},
		{name: "json/number that is large", message: &userv1.SearchUsersRequest{}, jsonOnly: true, body: `{"pageSize": 2147483648}`, want: malformed("pageSize")},
		{name: "json/number in a text that is large", message: &userv1.GetUserRequest{}, jsonOnly: true, body: `{"minVersion": "9223372036854775808"}`, want: malformed("minVersion")},
		{name: "json/part of a number", message: &userv1.GetUserRequest{}, jsonOnly: true, body: `{"minVersion": 1.5}`, want: malformed("minVersion")},
		{name: "json/no number", message: &userv1.GetUserRequest{}, jsonOnly: true, body: `{"minVersion": "NaN"}`, want: malformed("minVersion")},
		{name: "json/number before what is wrong", message: &userv1.GetUserRequest{}, jsonOnly: true, body: `{"minVersion": 9223372036854775807, "user_id": 1}`, want: malformed("user_id")},
		{name: "binary/truncated", message: user, body: "\x0a\x7fhush@example.com", want: malformed("")},
		{name: "binary/group", message: user, body: "\x0b\x0b\x0b", want: malformed("")},
		{name: "binary/invalid UTF-8 in a map", message: user, body: "\x32\x07\x0a\x01a\x12\x02h\xff", want: malformed("attributes")},
		{name: "binary/invalid UTF-8", message: user, body: "\x0a\x05hush\xff", want: malformed("email")},
	}
}

// unacceptable are requests that are too large, packed in a way that they cannot be
// unpacked, or of no method.
func unacceptable(tb testing.TB) []badInput {
	user := newUserRequest(1)
	packed := func(name, encoding string, packed []byte, want failure) badInput {
		return badInput{name: encoding + "/" + name, message: user, encoding: encoding, packed: packed, want: want}
	}
	tooLarge := failure{code: connect.CodeResourceExhausted, reason: userv1.Reason_REASON_MESSAGE_TOO_LARGE}
	unimplemented := failure{code: connect.CodeUnimplemented, reason: userv1.Reason_REASON_UNIMPLEMENTED}
	large := func(mebibytes int) *userv1.CreateUserRequest {
		return &userv1.CreateUserRequest{Email: testEmail(1), DisplayName: strings.Repeat("h", mebibytes<<20)}
	}
	zeros := make([]byte, 17<<20)
	return []badInput{
		{name: "15 MiB", message: large(15), want: invalid("display_name", "string.max_len")},
		{name: "17 MiB", message: large(17), want: tooLarge},
		packed("17 MiB", "gzip", gzipped(tb, zeros), tooLarge),
		packed("17 MiB", "zstd", zstandard(tb, zeros), tooLarge),
		packed("corrupt", "gzip", []byte("hush@example.com is not gzip"), malformed("")),
		packed("corrupt", "zstd", []byte("hush@example.com is not zstd"), malformed("")),
		packed("truncated", "gzip", gzipped(tb, zeros[:1<<10])[:20], malformed("")),
		packed("truncated", "zstd", zstandard(tb, zeros[:1<<10])[:8], malformed("")),
		// One empty frame that asks for a window of 2 GiB (RFC 8878, section 3.1.1).
		packed("window", "zstd", []byte("\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00"), malformed("")),
		packed("unknown", "br", []byte("hush"), unimplemented),
		{name: "unknown method", message: user, path: "/user.v1.UserService/Hush", want: unimplemented},
	}
}

// refusals are valid messages that the users, tokens or cursors of a server do not
// allow.
func refusals(tb testing.TB, running *servertest.Server) []badInput {
	users := []store.NewUser{
		{ID: someID, Email: testEmail(1), DisplayName: testName(1), Roles: numberedRoles(store.MaxRoles), Disabled: true},
		{ID: otherID, Email: testEmail(2), DisplayName: testName(2), ExternalID: private},
	}
	for i := range store.MaxAttributes {
		users[0].Attributes = append(users[0].Attributes, store.Attribute{Name: fmt.Sprint("a", i)})
	}
	if _, err := running.Store.Import(tb.Context(), users); err != nil {
		tb.Fatal(err)
	}
	other := servertest.Start(tb, nil)
	if _, err := other.Store.Import(tb.Context(), users); err != nil {
		tb.Fatal(err)
	}
	listed := listToken(tb, running)
	searched := searchToken(tb, running, &userv1.SearchUsersRequest{NameContains: "Ada", PageSize: 1})
	tampered := "A" + strings.TrimPrefix(listed, "A")[1:]
	list := func(token string) *userv1.ListUsersRequest { return &userv1.ListUsersRequest{PageToken: token} }
	update := func(update *userv1.UserUpdate) proto.Message { return &userv1.UpdateUserRequest{Update: update} }

	badToken := describedByReason(connect.CodeInvalidArgument, userv1.Reason_REASON_INVALID_PAGE_TOKEN, "page_token")
	badCursor := describedByReason(connect.CodeInvalidArgument, userv1.Reason_REASON_INVALID_CURSOR, "cursor")
	notFound := failure{code: connect.CodeNotFound, reason: userv1.Reason_REASON_USER_NOT_FOUND}
	mismatch := failure{code: connect.CodeAborted, reason: userv1.Reason_REASON_VERSION_MISMATCH}
	emailTaken := describedByReason(connect.CodeAlreadyExists, userv1.Reason_REASON_EMAIL_TAKEN, "email")
	externalIDTaken := describedByReason(connect.CodeAlreadyExists, userv1.Reason_REASON_EXTERNAL_ID_TAKEN, "external_id")
	noImport := describedByReason(connect.CodeInvalidArgument, userv1.Reason_REASON_INVALID_FIELD, "on_conflict")
	idTaken := describedByReason(connect.CodeAlreadyExists, userv1.Reason_REASON_USER_ID_TAKEN, "user_id")
	return []badInput{
		{name: "token/garbage", message: list("hush"), want: badToken},
		{name: "token/not base64", message: list("{hush}"), want: badToken},
		{name: "token/tampered", message: list(tampered), want: badToken},
		{name: "token/cut", message: list(listed[:len(listed)-4]), want: badToken},
		{name: "token/of another store", message: list(listToken(tb, other)), want: badToken},
		{name: "token/of another list", message: list(searched), want: badToken},
		{name: "token/for all", message: &userv1.ListUsersRequest{PageToken: searched, All: true}, want: badToken},
		{name: "token/of a list in a search", message: &userv1.SearchUsersRequest{PageToken: listed}, want: badToken},
		{name: "token/without its filter", message: &userv1.SearchUsersRequest{PageToken: searched}, want: badToken},
		{name: "token/with another filter", message: &userv1.SearchUsersRequest{PageToken: searched, NameContains: "Ad"}, want: badToken},
		{name: "token/with one filter more", message: &userv1.SearchUsersRequest{PageToken: searched, NameContains: "Ada", Role: "reader"}, want: badToken},
		{name: "token/with an attribute", message: &userv1.SearchUsersRequest{PageToken: searched, NameContains: "Ada", Attributes: map[string]string{"a": "b"}}, want: badToken},
		{name: "token/with a state", message: &userv1.SearchUsersRequest{PageToken: searched, NameContains: "Ada", Disabled: new(false)}, want: badToken},
		{name: "token/with a time", message: &userv1.SearchUsersRequest{PageToken: searched, NameContains: "Ada", CreatedAfter: timestamppb.New(time.Unix(0, 0))}, want: badToken},
		{name: "token/in the reverse order", message: &userv1.SearchUsersRequest{PageToken: searched, NameContains: "Ada", NewestFirst: true}, want: badToken},
		{name: "token/filter in another field", message: &userv1.SearchUsersRequest{PageToken: searched, EmailPrefix: "Ada"}, want: badToken},
		{name: "cursor/garbage", message: &userv1.WatchUsersRequest{Cursor: private}, want: badCursor},
		{name: "cursor/long", message: &userv1.WatchUsersRequest{Cursor: strings.Repeat("h", 64<<10)}, want: badCursor},

		{name: "update/nobody", message: update(&userv1.UserUpdate{UserId: nobody}), want: notFound},
		{name: "update/version", message: update(&userv1.UserUpdate{UserId: someID, ExpectedVersion: proto.Int64(2)}), want: mismatch},
		{
			name:    "update/one role more",
			message: update(&userv1.UserUpdate{UserId: someID, AddRoles: []string{"hush"}}),
			want:    describedByReason(connect.CodeInvalidArgument, userv1.Reason_REASON_TOO_MANY_ROLES, "add_roles"),
		},
		{name: "create/on conflict as in an import", message: &userv1.CreateUserRequest{Email: testEmail(1), DisplayName: testName(1), OnConflict: userv1.OnConflict_ON_CONFLICT_SKIP}, want: noImport},
		{name: "update/email taken", message: update(&userv1.UserUpdate{UserId: otherID, Email: new(strings.ToUpper(testEmail(1)))}), want: emailTaken},
		{name: "update/external id taken", message: update(&userv1.UserUpdate{UserId: someID, ExternalId: new(private)}), want: externalIDTaken},
		{
			name:    "update/one attribute more",
			message: update(&userv1.UserUpdate{UserId: someID, SetAttributes: map[string]string{"more": private}}),
			want:    describedByReason(connect.CodeInvalidArgument, userv1.Reason_REASON_TOO_MANY_ATTRIBUTES, "set_attributes"),
		},
		{
			name: "create/external id taken", message: &userv1.CreateUserRequest{Email: testEmail(3), DisplayName: testName(3), ExternalId: private},
			want: externalIDTaken,
		},
		{
			name: "login/disabled", message: &userv1.RecordLoginRequest{UserId: someID},
			want: failure{code: connect.CodeFailedPrecondition, reason: userv1.Reason_REASON_USER_DISABLED},
		},
		{name: "delete/nobody", message: &userv1.DeleteUserRequest{UserId: nobody}, want: notFound},
		{name: "delete/version", message: &userv1.DeleteUserRequest{UserId: someID, ExpectedVersion: proto.Int64(2)}, want: mismatch},
		{name: "login/nobody", message: &userv1.RecordLoginRequest{UserId: nobody}, want: notFound},
		{name: "create/email taken", message: newUserRequest(1), want: emailTaken},
		{
			name:    "create/email taken in another case",
			message: &userv1.CreateUserRequest{Email: strings.ToUpper(testEmail(1)), DisplayName: testName(1)},
			want:    emailTaken,
		},
		{
			name:    "create/id taken",
			message: &userv1.CreateUserRequest{Email: testEmail(3), DisplayName: testName(3), UserId: someID},
			want:    idTaken,
		},
	}
}

func listToken(tb testing.TB, running *servertest.Server) string {
	tb.Helper()
	_, token, err := list(tb.Context(), running.Client(tb), &userv1.ListUsersRequest{PageSize: 1})
	if err != nil || token == "" {
		tb.Fatalf("token %q, error %v", token, err)
	}
	return token
}

func searchToken(tb testing.TB, running *servertest.Server, req *userv1.SearchUsersRequest) string {
	tb.Helper()
	res, err := running.Client(tb).SearchUsers(tb.Context(), req)
	if err != nil || res.GetNextPageToken() == "" {
		tb.Fatalf("token %q, error %v", res.GetNextPageToken(), err)
	}
	return res.GetNextPageToken()
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, func(config *server.Config) { config.ReceiveTimeout = time.Hour }) // Some are large.
	inputs := slices.Concat(brokenRules(), impossibleTimes(), undecodable(), unacceptable(t), refusals(t, running))
	checkNothingWritten(t, running.Store)
	for _, input := range inputs {
		t.Run(input.name, func(t *testing.T) {
			if !input.isLarge() {
				t.Parallel()
			}
			for _, protocol := range input.protocols() {
				t.Run(protocol.name, func(t *testing.T) {
					if !input.isLarge() {
						t.Parallel()
					}
					client := servertest.HTTP2(t)
					if input.path != "" {
						client = changing(client, func(req *http.Request) { req.URL.Path = input.path })
					}
					err := send(t.Context(), running.ClientOf(client, input.options(protocol)...), input.message)
					checkError(t, err, input.want.over(protocol, input))
				})
			}
		})
	}
}

// checkNothingWritten checks that nothing has been written by the end of a test.
func checkNothingWritten(t *testing.T, s store.Store) {
	t.Helper()
	head := func() store.Cursor {
		cursor, err := s.Head(context.Background())
		if err != nil {
			t.Error(err)
		}
		return cursor
	}
	before := head()
	t.Cleanup(func() {
		if after := head(); after != before {
			t.Errorf("there were changes from %s to %s", before, after)
		}
	})
}

// Rows and updates that break a rule are answered each, with the field, and change nothing.
func TestBadRows(t *testing.T) {
	t.Parallel()
	for _, protocol := range []protocol{grpcBinary, grpcJSON, connectJSON} {
		t.Run(protocol.name, func(t *testing.T) {
			t.Parallel()
			running := servertest.Start(t, nil)
			client := running.Client(t, protocol.options...)
			user := create(t, client, newUserRequest(2))
			checkNothingWritten(t, running.Store)
			var rows []*userv1.CreateUserRequest
			var updates []*userv1.UserUpdate
			var rowFields, updateFields []string
			for _, input := range brokenRules() {
				field, _, _ := strings.Cut(input.want.over(protocol, input).field, "[")
				switch message := input.message.(type) {
				case *userv1.CreateUserRequest:
					rows, rowFields = append(rows, message), append(rowFields, field)
				case *userv1.UpdateUserRequest:
					update := message.GetUpdate()
					if update == nil {
						continue
					}
					if update.GetUserId() == someID {
						update.UserId = user.GetId()
					}
					updates, updateFields = append(updates, update), append(updateFields, strings.TrimPrefix(field, "update."))
				}
			}
			imported, err := importRows(t.Context(), client, rows)
			checkNone(t, err)
			answers, err := sendUpdates(t.Context(), client, updates)
			checkNone(t, err)
			if len(rows) == 0 || len(imported.GetFailures()) != len(rows) || len(updates) == 0 || len(answers) != len(updates) {
				t.Fatalf("%d of %d rows fail, and %d of %d updates are answered", len(imported.GetFailures()), len(rows), len(answers), len(updates))
			}
			for i, failed := range imported.GetFailures() {
				checkRefusedRow(t, failed.GetReason(), failed.GetMessage(), rowFields[i])
			}
			for i, answer := range answers {
				checkRefusedRow(t, answer.GetReason(), answer.GetErrorMessage(), updateFields[i])
			}
		})
	}
}

func checkRefusedRow(t *testing.T, reason userv1.Reason, message, field string) {
	t.Helper()
	if reason != userv1.Reason_REASON_INVALID_FIELD || !strings.HasPrefix(message, field) || strings.Contains(strings.ToLower(message), private) {
		t.Errorf("a row with a bad %s fails with %s: %s", field, reason, message)
	}
}

// over is the failure with the name of its field that a protocol has. What JSON has misspelt
// stays so.
func (f failure) over(p protocol, input badInput) failure {
	if strings.HasSuffix(p.name, "json") && !input.jsonOnly {
		f.field = underscored.ReplaceAllStringFunc(f.field, func(s string) string { return strings.ToUpper(s[1:]) })
	}
	return f
}

var underscored = regexp.MustCompile("_[a-z]")

// protocols are those that can carry the input.
func (b badInput) protocols() []protocol {
	switch {
	case b.jsonOnly:
		return []protocol{grpcJSON, connectJSON}
	case b.body != "":
		return []protocol{grpcBinary, connectRPC}
	default:
		return []protocol{grpcBinary, connectJSON}
	}
}

func (b badInput) options(p protocol) []connecthttp.Option {
	if b.encoding != "" {
		return p.with(connecthttp.WithCompressors(packedAs{b.encoding, b.packed}), connecthttp.WithSendCompression(b.encoding))
	}
	if b.body != "" {
		return p.with(connecthttp.WithCodecs(
			encodedAs{connectproto.NewBinaryCodec(), b.body}, encodedAs{connectproto.NewJSONCodec(), b.body}))
	}
	return p.options
}

// encodedAs is a codec that has one encoding for all messages.
type encodedAs struct {
	connect.StableCodec
	encoded string
}

func (e encodedAs) MarshalWrite(_ context.Context, dst io.Writer, _ any) error {
	_, err := io.WriteString(dst, e.encoded)
	return err
}

// packedAs is a compression that has one form for all messages.
type packedAs struct {
	name   string
	packed []byte
}

func (p packedAs) Name() string { return p.name }

func (p packedAs) Compress(dst io.Writer) (io.WriteCloser, error) {
	_, err := dst.Write(p.packed)
	return discard{}, err
}

func (p packedAs) Decompress(io.Reader) (io.ReadCloser, error) {
	return nil, errors.New("answer is compressed")
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) Close() error                { return nil }

func gzipped(tb testing.TB, data []byte) []byte {
	tb.Helper()
	var packed bytes.Buffer
	writer, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		tb.Fatal(err)
	}
	return written(tb, writer, data, &packed)
}

func zstandard(tb testing.TB, data []byte) []byte {
	tb.Helper()
	var packed bytes.Buffer
	writer, err := zstd.NewWriter(&packed, zstd.WithEncoderConcurrency(1))
	if err != nil {
		tb.Fatal(err)
	}
	return written(tb, writer, data, &packed)
}

func written(tb testing.TB, writer io.WriteCloser, data []byte, packed *bytes.Buffer) []byte {
	tb.Helper()
	if _, err := writer.Write(data); err != nil {
		tb.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		tb.Fatal(err)
	}
	return packed.Bytes()
}

func TestEveryRuleHasABadInput(t *testing.T) {
	t.Parallel()
	want := make(map[string]bool)
	methods := userv1.File_user_v1_user_service_proto.Services().ByName("UserService").Methods()
	for i := range methods.Len() {
		if method := methods.Get(i); !method.IsStreamingClient() {
			addRules(want, method.Input().Name(), "", method.Input())
		}
	}
	got := make(map[string]bool)
	for _, input := range brokenRules() {
		field, _, _ := strings.Cut(input.want.field, "[")
		got[ruleKey(input.message.ProtoReflect().Descriptor().Name(), field, strings.TrimSuffix(input.want.rule, "_empty"))] = true
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rules (-in the schema +broken):\n%s", diff)
	}
}

func ruleKey(request protoreflect.Name, field, rule string) string {
	return fmt.Sprintf("%s.%s %s", request, field, rule)
}

// addRules adds the rules of a message, and of those of our own inside it.
func addRules(rules map[string]bool, request protoreflect.Name, prefix string, message protoreflect.MessageDescriptor) {
	if own, ok := proto.GetExtension(message.Options(), validate.E_Message).(*validate.MessageRules); ok {
		for _, rule := range own.GetCel() {
			field, _, _ := strings.Cut(rule.GetId(), ".")
			rules[ruleKey(request, prefix+field, rule.GetId())] = true
		}
	}
	for i := range message.Fields().Len() {
		field := message.Fields().Get(i)
		path := prefix + string(field.Name())
		if own, ok := proto.GetExtension(field.Options(), validate.E_Field).(*validate.FieldRules); ok {
			for _, rule := range ruleIDs(own) {
				rules[ruleKey(request, path, rule)] = true
			}
		}
		if inner := field.Message(); inner != nil && inner.ParentFile() == message.ParentFile() {
			addRules(rules, request, path+".", inner)
		}
	}
}

// ruleIDs are the ids that violations of rules have.
func ruleIDs(rules *validate.FieldRules) []string {
	var ids []string
	if rules.GetRequired() {
		ids = append(ids, "required")
	}
	for _, rule := range rules.GetCel() {
		ids = append(ids, rule.GetId())
	}
	typed := rules.ProtoReflect().WhichOneof(rules.ProtoReflect().Descriptor().Oneofs().ByName("type"))
	if typed == nil {
		return ids
	}
	var names []string
	rules.ProtoReflect().Get(typed).Message().Range(func(rule protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		if items, ok := value.Interface().(protoreflect.Message); ok && slices.Contains([]protoreflect.Name{"items", "keys", "values"}, rule.Name()) {
			ids = append(ids, ruleIDs(items.Interface().(*validate.FieldRules))...)
		} else {
			names = append(names, string(rule.Name()))
		}
		return true
	})
	if typed.Name() == "int32" { // The two bounds of a range are one rule.
		return append(ids, "int32.gte_lte")
	}
	for _, name := range names {
		ids = append(ids, string(typed.Name())+"."+name)
	}
	return ids
}

// What is wrong with a request as a whole is told in words, whatever the protocol. A method that is
// there is not said to be missing.
func TestBrokenRequestsAreTold(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, nil)
	one := "\x00\x00\x00\x00\x02{}"
	const get, list = "GetUser", "ListUsers"
	const number, packed = "the method takes one message, and the request has another number of them", "a message of the request is not compressed as it says, or is damaged"
	for _, test := range []struct{ name, method, contentType, encoding, body, want string }{
		{"no message", get, "application/grpc+json", "", "", number},
		{"two messages", get, "application/grpc+json", "", one + one, number},
		{"no message", get, "application/grpc-web+json", "", "", number},
		{"two messages", get, "application/grpc-web+json", "", one + one, number},
		{"no message", list, "application/grpc+json", "", "", number},
		{"no message", list, "application/connect+json", "", "", number},
		{"damaged", get, "application/json", "gzip", "{}", packed},
		{"damaged", get, "application/json", "zstd", "{}", packed},
		{"damaged", get, "application/grpc+json", "gzip", "\x01\x00\x00\x00\x02{}", packed},
		{"damaged", get, "application/grpc-web+json", "zstd", "\x01\x00\x00\x00\x02{}", packed},
		{"damaged", list, "application/connect+json", "gzip", "\x01\x00\x00\x00\x02{}", packed},
		{"cut", get, "application/json", "gzip", string(gzipped(t, make([]byte, 1<<10))[:20]), packed},
	} {
		t.Run(test.name+" "+test.method+" "+test.contentType, func(t *testing.T) {
			t.Parallel()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, running.URL+"/user.v1.UserService/"+test.method, strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", test.contentType)
			for _, name := range []string{"Content-Encoding", "Grpc-Encoding", "Connect-Content-Encoding"} {
				if test.encoding != "" {
					req.Header.Set(name, test.encoding)
				}
			}
			res, err := servertest.HTTP2(t).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			if told := res.Header.Get("Grpc-Message") + res.Trailer.Get("Grpc-Message") + string(body); !strings.Contains(told, test.want) {
				t.Errorf("told %q, want %q", told, test.want)
			}
		})
	}
}

func TestWrongContentType(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, nil)
	told := map[string]string{
		"application/grpc+hush":               "",
		"application/json; charset=utf-16":    `"message":"Content-Type: must say no other charset than UTF-8`,
		"application/json;charset=ISO-8859-1": `"message":"Content-Type: must say no other charset than UTF-8`,
	}
	for _, contentType := range []string{"", "text/plain", "application/xml", "application/x-www-form-urlencoded"} {
		told[contentType] = `"message":"Content-Type: must be application/json for JSON`
	}
	for contentType, want := range told {
		for version, client := range map[string]*http.Client{"1.1": servertest.HTTP1(t), "2": servertest.HTTP2(t)} {
			t.Run(version+" "+contentType, func(t *testing.T) {
				t.Parallel()
				res, err := client.Post(running.URL+"/user.v1.UserService/CreateUser", contentType, strings.NewReader("{}"))
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				if res.StatusCode != http.StatusUnsupportedMediaType {
					t.Errorf("status is %s, want 415", res.Status)
				}
				if accepted := res.Header.Get("Accept-Post"); !strings.Contains(accepted, "application/json") {
					t.Errorf("Accept-Post is %q", accepted)
				}
				text, err := io.ReadAll(res.Body)
				if err != nil || !strings.Contains(string(text), want) || want == "" && len(text) > 0 {
					t.Errorf("the body is %q, %v, want %s in it", text, err, want)
				}
			})
		}
	}
}
