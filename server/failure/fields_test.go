package failure

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	userv1 "github.com/example/userd/gen/user/v1"
)

// Nobody who calls has to read a regular expression.
func TestPatternsHaveWords(t *testing.T) {
	t.Parallel()
	messages, found := userv1.File_user_v1_user_service_proto.Messages(), 0
	for i := range messages.Len() {
		fields := messages.Get(i).Fields()
		for j := range fields.Len() {
			for _, pattern := range patternsOf(fields.Get(j)) {
				found++
				if patterns[pattern] == "" {
					t.Errorf("%s has %s, for which there are no words", fields.Get(j).FullName(), pattern)
				}
			}
		}
	}
	if found == 0 {
		t.Error("the schema has no patterns")
	}
}

func patternsOf(field protoreflect.FieldDescriptor) []string {
	rules, _ := proto.GetExtension(field.Options(), validate.E_Field).(*validate.FieldRules)
	var found []string
	for _, text := range []*validate.StringRules{
		rules.GetString(), rules.GetRepeated().GetItems().GetString(), rules.GetMap().GetKeys().GetString(), rules.GetMap().GetValues().GetString(),
	} {
		if text.HasPattern() {
			found = append(found, text.GetPattern())
		}
	}
	return found
}

// What is said of a field says what would be right, in words for people.
func TestRulesHaveWords(t *testing.T) {
	t.Parallel()
	create := func(change func(*userv1.CreateUserRequest)) *userv1.CreateUserRequest {
		request := &userv1.CreateUserRequest{Email: "ada@example.com", DisplayName: "Ada"}
		change(request)
		return request
	}
	names, attributes := make([]string, 33), make(map[string]string)
	for i := range names {
		names[i] = fmt.Sprint("a", i)
		attributes[names[i]] = ""
	}
	for want, message := range map[string]proto.Message{
		"display_name: must not be empty":                                                    create(func(r *userv1.CreateUserRequest) { r.DisplayName = "" }),
		"email: must be a valid email address, and is empty":                                 &userv1.GetUserByEmailRequest{},
		"user_id: must be a valid UUID, and is empty":                                        &userv1.GetUserRequest{},
		"update: must be given":                                                              &userv1.UpdateUserRequest{},
		"roles: must have at most 32 elements":                                               create(func(r *userv1.CreateUserRequest) { r.Roles = names }),
		"roles: must have nothing twice":                                                     create(func(r *userv1.CreateUserRequest) { r.Roles = []string{"a", "a"} }),
		"attributes: must have at most 32 names":                                             create(func(r *userv1.CreateUserRequest) { r.Attributes = attributes }),
		"attributes: a name " + patterns["^[a-z][a-z0-9_.-]{0,62}$"]:                         create(func(r *userv1.CreateUserRequest) { r.Attributes = map[string]string{"A": ""} }),
		"attributes: a value must be at most 1024 bytes":                                     create(func(r *userv1.CreateUserRequest) { r.Attributes = map[string]string{"a": strings.Repeat("x", 1025)} }),
		"attributes: a value must not contain the character U+0000":                          create(func(r *userv1.CreateUserRequest) { r.Attributes = map[string]string{"a": "\x00"} }),
		"on_conflict: must be one of ON_CONFLICT_FAIL, ON_CONFLICT_SKIP, ON_CONFLICT_UPDATE": create(func(r *userv1.CreateUserRequest) { r.OnConflict = 4 }),
	} {
		var invalid *protovalidate.ValidationError
		if err := protovalidate.Validate(message); !errors.As(err, &invalid) {
			t.Fatalf("%s: %v", want, err)
		}
		if got := InvalidRow(t.Context(), invalid).Message(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// JSON names fields as the schema says that it does.
func TestJSONNames(t *testing.T) {
	t.Parallel()
	messages := userv1.File_user_v1_user_service_proto.Messages()
	for i := range messages.Len() {
		fields := messages.Get(i).Fields()
		for j := range fields.Len() {
			if got := jsonName(string(fields.Get(j).Name())); got != fields.Get(j).JSONName() {
				t.Errorf("%s is called %s in JSON, not %s", fields.Get(j).Name(), fields.Get(j).JSONName(), got)
			}
		}
	}
}
