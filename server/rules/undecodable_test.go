package rules_test

import (
	"errors"
	"strings"
	"testing"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/server/rules"
)

// Whoever writes JSON by hand finds what is wrong where the error says.
func TestWhereJSONIsBroken(t *testing.T) {
	t.Parallel()
	const id = `"user_id": "7d0f6a52-6b1c-4c11-9d5f-3a8f1c2b4e5d"`
	for _, test := range []struct{ data, want string }{
		{`{'user_id': ""}`, "the request is not valid JSON, at line 1, column 2"},
		{`{` + id + `,}`, "the request is not valid JSON, at line 1, column 52"},
		{`{` + id + `} x`, "the request is not valid JSON, at line 1, column 53"},
		{"{\n  " + id + ",\n  \"min_version\": 01\n}", "the request is not valid JSON, at line 3, column 19"},
		{"{\n  " + id + ",\n\n\n  \"min_version\": nul\n}", "the request is not valid JSON, at line 5, column 21"},
		{"{\n  " + id + ",\n  \"min_version\": 1,\n  \"é\n}", "the request is not valid JSON, at line 4, column 5"},
		{"{\n  \"é\": é}", "there is no such field; GetUserRequest has userId, minVersion"},
		{"{\n  \"user_id\": \"é\", é}", "the request is not valid JSON, at line 2, column 19"},
		{"", "the request is not valid JSON: it ends too early"},
		{`{` + id, "the request is not valid JSON: it ends too early"},
		{`{` + id + `} {}`, "the request goes on after its message"},
		{`[]`, "the request must be a JSON object"},
		{`null`, "the request must be a JSON object"},
	} {
		err := rules.Undecodable([]byte(test.data), (&userv1.GetUserRequest{}).ProtoReflect().Descriptor(), false, errors.New("cause"))
		if !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: %v, want %s", test.data, err, test.want)
		}
	}
}

// What is wrong with the elements of a list, or with the values of a map, is not said of the list or
// the map: whoever is told that roles must be a string would send one.
func TestElementsAreTold(t *testing.T) {
	t.Parallel()
	for data, want := range map[string]string{
		`{"roles": [5]}`:                                "roles: each must be a string",
		`{"roles": "admin"}`:                            "roles: must be a list",
		`{"roles": ["\ud83d"]}`:                         "roles: each must be valid Unicode, without half of a surrogate pair",
		`{"attributes": {"a": 5}}`:                      "attributes: each must be a string",
		`{"attributes": {"a": null}}`:                   "attributes: must not have null in it",
		`{"display_name": "\ud83d"}`:                    "display_name: must be valid Unicode, without half of a surrogate pair",
		`{"display_name":  "\ud83d\udc4d", "email": 5}`: "email: must be a string",
	} {
		err := rules.Undecodable([]byte(data), (&userv1.CreateUserRequest{}).ProtoReflect().Descriptor(), false, errors.New("cause"))
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", data, err, want)
		}
	}
}
