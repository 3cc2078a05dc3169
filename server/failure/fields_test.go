package failure

import (
	"errors"
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

// What is missing is said to be missing, not to be too short.
func TestEmptyTextsHaveWords(t *testing.T) {
	t.Parallel()
	var invalid *protovalidate.ValidationError
	if err := protovalidate.Validate(&userv1.CreateUserRequest{Email: "ada@example.com"}); !errors.As(err, &invalid) {
		t.Fatal(err)
	}
	if got, want := InvalidRow(t.Context(), invalid).Message(), "display_name: must not be empty"; got != want {
		t.Errorf("%q, want %q", got, want)
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
