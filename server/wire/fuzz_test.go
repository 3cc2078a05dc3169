package wire

import (
	"context"
	"regexp"
	"strings"
	"testing"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/server/failure"
)

// What is told of a request that cannot be decoded is made of these words, the
// names of fields, and nothing else of the request.
var decodeErrorTexts = regexp.MustCompile(`^(` +
	`((update\.)?[A-Za-z_]\w{0,99}: )?there is no such field(; \w+ has \w+(, \w+)*)?|` +
	`(update|update\.(userId|user_id|displayName|display_name|addRoles|add_roles|removeRoles|remove_roles|expectedVersion|expected_version|` +
	`email|disabled|externalId|external_id|setAttributes|set_attributes|removeAttributes|remove_attributes)): ` +
	`(each )?must (be (a string|valid Unicode, without half of a surrogate pair|a whole number of at most 64 bits|a list|an object|given once|true or false)|have each name once|not have null in it)|` +
	`the request (must be a JSON object|goes on after its message|is not valid UTF-8)|` +
	`the request is not valid JSON( for this method|: it ends too early|, at line \d+, column \d+)?` +
	`)$`)

func FuzzJSONError(f *testing.F) {
	for _, body := range []string{
		`{}`, `{`, `[]`, `"invalid value for hush@example.com field email: 1"`, `{"hush@example.com":1}`,
		`{"update":{"userId":1}}`, `{"update":{"addRoles":["a",{}]}}`, `{"update":{"expectedVersion":"hush"}}`,
		`{"update":{"userId":"a","userId":"b"}}`, `{"update":{"setAttributes":{"a":"b","hush":1}}}`, `{"update":{"setAttributes":{"a":"b","a":""},"disabled":1}}`, `{"update":null}`, `{"update":{"addRoles":["\ud800"],"a.b":1}}`, `{"update":{"a":1}}`, `{"update":{"addRoles":[null]}}`, "{\"update\":{\"userId\":\"\xff\"}}",
	} {
		f.Add(body)
	}
	json := Codecs()[1]
	f.Fuzz(func(t *testing.T, body string) {
		err := json.UnmarshalRead(context.Background(), strings.NewReader(body), new(userv1.UpdateUserRequest))
		if err == nil {
			return
		}
		if text := failure.ForCaller(t.Context(), err).Message(); !decodeErrorTexts.MatchString(text) {
			t.Errorf("%q is told %q", body, text)
		}
	})
}

func FuzzBinaryError(f *testing.F) {
	for _, body := range []string{"", "\x0a\x7fhush", "\x0b\x0b", "\x0a\x06\x0a\x04hu\xffh", "\x0a\x03\x12\x01\xff"} {
		f.Add(body)
	}
	texts := regexp.MustCompile(`^([a-z_.]+: must be valid UTF-8|the request is not a valid protobuf message of this method)$`)
	binary := Codecs()[0]
	f.Fuzz(func(t *testing.T, body string) {
		err := binary.UnmarshalRead(context.Background(), strings.NewReader(body), new(userv1.UpdateUserRequest))
		if err == nil {
			return
		}
		if text := failure.ForCaller(t.Context(), err).Message(); !texts.MatchString(text) {
			t.Errorf("%q is told %q", body, text)
		}
	})
}
