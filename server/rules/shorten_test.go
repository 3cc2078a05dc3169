package rules

import (
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/store"
)

const (
	// hostileElements is as many empty texts as 60 KB have room for.
	hostileElements = 30_000
	// maxRefusalBytes is what refusing one message may allocate, whether or not it is
	// freed again.
	maxRefusalBytes = 2 << 20
	// maxRefusalRatio is how many times more a message full of mistakes may cost than one
	// with a mistake in each element that a valid one has room for.
	maxRefusalRatio = 20
)

// hostileMessages are requests of 60 KB with a mistake every two bytes.
func hostileMessages(elements int) map[string]proto.Message {
	texts := make([]string, elements)
	return map[string]proto.Message{
		"create":          &userv1.CreateUserRequest{Roles: texts},
		"update":          &userv1.UpdateUserRequest{Update: &userv1.UserUpdate{AddRoles: texts, RemoveRoles: texts}},
		"row of a stream": &userv1.UserUpdate{AddRoles: texts, RemoveRoles: texts},
		"batch":           &userv1.BatchGetUsersRequest{UserIds: texts},
		"attributes":      &userv1.UpdateUserRequest{Update: &userv1.UserUpdate{SetAttributes: emptyAttributes(elements), RemoveAttributes: texts}},
		"long texts": &userv1.CreateUserRequest{
			Email: strings.Repeat("a", 2*elements), DisplayName: strings.Repeat("\a", 2*elements), UserId: strings.Repeat("é", elements),
			Roles: []string{strings.Repeat("a", 2*elements)}, ExternalId: strings.Repeat("a", 2*elements),
			Attributes: map[string]string{strings.Repeat("a", 2*elements): strings.Repeat("a", 2*elements)},
		},
	}
}

func emptyAttributes(n int) map[string]string {
	attributes := make(map[string]string, n)
	for i := range n {
		attributes[strings.Repeat("A", i%7)+strconv.Itoa(i)] = "\x00"
	}
	return attributes
}

// The rule of the number is named however many elements there are.
func TestTooManyElementsAreNamed(t *testing.T) {
	t.Parallel()
	rules := New()
	for name, message := range hostileMessages(hostileElements) {
		if name == "long texts" {
			continue
		}
		invalid, ok := rules.Validate(message).(*protovalidate.ValidationError) // It is not wrapped.
		if !ok {
			t.Errorf("%s: error is no ValidationError", name)
			continue
		}
		if !breaks(invalid, "repeated.max_items") {
			t.Errorf("%s: the number of elements is not named: %v", name, invalid)
		}
	}
}

func breaks(invalid *protovalidate.ValidationError, rule string) bool {
	for _, violation := range invalid.Violations {
		if violation.Proto.GetRuleId() == rule {
			return true
		}
	}
	return false
}

// TestRefusalMemory measures: nothing else may run.
func TestRefusalMemory(t *testing.T) { // Alone: it measures.
	rules := New()
	for name, message := range hostileMessages(hostileElements) {
		_ = rules.Validate(message) // Sets up the rules.
		before := allocatedBytes()
		err := rules.Validate(message)
		if allocated := allocatedBytes() - before; allocated > maxRefusalBytes {
			t.Errorf("%s: refusing it allocates %d bytes, want at most %d", name, allocated, maxRefusalBytes)
		}
		if err == nil {
			t.Errorf("%s: it is not refused", name)
		}
	}
}

// allocatedBytes is what this process has ever allocated.
func allocatedBytes() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.TotalAlloc
}

// What a refusal costs does not grow with the number of mistakes.
func TestRefusalCost(t *testing.T) { // Alone: it measures.
	rules := New()
	few := hostileMessages(store.MaxRoles)
	for name, message := range hostileMessages(hostileElements) {
		usual, hostile := refusalTime(rules, few[name]), refusalTime(rules, message)
		if hostile > maxRefusalRatio*usual {
			t.Errorf("%s: refusing it takes %v, want at most %d times the %v for few mistakes", name, hostile, maxRefusalRatio, usual)
		}
	}
}

// refusalTime is the least time that it takes to refuse a message.
func refusalTime(rules Validator, message proto.Message) time.Duration {
	least := time.Hour
	for range 20 {
		start := time.Now()
		_ = rules.Validate(message)
		least = min(least, time.Since(start))
	}
	return least
}

// A message is shortened to what still breaks the rule of its length, and is left as it
// is otherwise.
func TestShortened(t *testing.T) {
	t.Parallel()
	tooMany := &userv1.CreateUserRequest{Email: "a", DisplayName: strings.Repeat("é", 1000), Roles: make([]string, 100)}
	short := shortened(tooMany.ProtoReflect()).Interface().(*userv1.CreateUserRequest)
	if len(short.GetRoles()) != store.MaxRoles+1 {
		t.Errorf("%d roles are left, want one too many", len(short.GetRoles()))
	}
	if name := short.GetDisplayName(); len([]rune(name)) <= maxNameRunes || len(name) > 4*(maxNameRunes+1) || strings.Trim(name, "é") != "" {
		t.Errorf("%d bytes of the name are left", len(name))
	}
	if short.GetEmail() != "a" || len(tooMany.GetRoles()) != 100 {
		t.Errorf("the rest is changed, or the message itself")
	}
	longest := &userv1.CreateUserRequest{DisplayName: strings.Repeat("😀", maxNameRunes), Roles: make([]string, store.MaxRoles)}
	if shortened(longest.ProtoReflect()).Interface() != proto.Message(longest) {
		t.Error("a message that is not too long is changed")
	}
}

// Every list and every text of a request has a bound, or refusing it could cost as much as
// the caller likes.
func TestListsAreBounded(t *testing.T) {
	t.Parallel()
	methods := userv1.File_user_v1_user_service_proto.Services().Get(0).Methods()
	for i := range methods.Len() {
		checkBounded(t, methods.Get(i).Input())
	}
}

func checkBounded(t *testing.T, message protoreflect.MessageDescriptor) {
	t.Helper()
	for i := range message.Fields().Len() {
		field := message.Fields().Get(i)
		rules, _ := proto.GetExtension(field.Options(), validate.E_Field).(*validate.FieldRules)
		if field.IsList() && !rules.GetRepeated().HasMaxItems() {
			t.Errorf("%s has no max_items", field.FullName())
		}
		if field.Message() != nil && field.Message().ParentFile().Package() == message.ParentFile().Package() {
			checkBounded(t, field.Message())
		}
	}
}
