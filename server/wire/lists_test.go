package wire

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/server/rules"
)

// No list of a request is so long by its rules that it would be cut.
func TestNoValidListIsTooLong(t *testing.T) {
	t.Parallel()
	methods := userv1.File_user_v1_user_service_proto.Services().Get(0).Methods()
	lists := 0
	for i := range methods.Len() {
		lists += checkLists(t, methods.Get(i).Input())
	}
	if lists == 0 {
		t.Error("no request has a list")
	}
}

func checkLists(t *testing.T, message protoreflect.MessageDescriptor) (lists int) {
	t.Helper()
	for i := range message.Fields().Len() {
		field := message.Fields().Get(i)
		if field.IsList() {
			lists++
			has, _ := proto.GetExtension(field.Options(), validate.E_Field).(*validate.FieldRules)
			if most := has.GetRepeated().GetMaxItems(); most == 0 || most >= maxListItems {
				t.Errorf("%s may have %d items", field.FullName(), most)
			}
		}
		if field.Message() != nil {
			lists += checkLists(t, field.Message())
		}
	}
	return lists
}

// manyMembers are members of a JSON object, about so many bytes of them.
func manyMembers(size int) string {
	var members strings.Builder
	for i := 0; members.Len() < size; i++ {
		fmt.Fprintf(&members, `"%x":"",`, i)
	}
	return members.String() + `"":""`
}

// A message of a few million elements of two or three bytes costs little more than its size.
func TestLongListsAreNotDecoded(t *testing.T) {
	t.Parallel()
	const size = 8 << 20
	update := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), bytes.Repeat([]byte("\x1a\x00"), size/2))
	parts := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), bytes.Repeat([]byte("\x1a\x00"), 100))
	for name, test := range map[string]struct {
		codec   connect.Codec
		data    []byte
		message proto.Message
	}{
		"proto":      {Codecs()[0], bytes.Repeat([]byte("\x0a\x00"), size/2), new(userv1.BatchGetUsersRequest)},
		"inner list": {Codecs()[0], update, new(userv1.UpdateUserRequest)},
		"in parts":   {Codecs()[0], bytes.Repeat(parts, size/len(parts)), new(userv1.UpdateUserRequest)},
		"JSON":       {Codecs()[1], []byte(`{"userIds":[` + strings.Repeat(`"",`, size/3) + `""]}`), new(userv1.BatchGetUsersRequest)},
		"map":        {Codecs()[0], bytes.Repeat([]byte("\x4a\x00"), size/2), new(userv1.UserUpdate)},
		"JSON map":   {Codecs()[1], []byte(`{"attributes":{` + manyMembers(size) + `}}`), new(userv1.CreateUserRequest)},
		"inner JSON": {Codecs()[1], []byte(`{"update":{"addRoles":[` + strings.Repeat(`"",`, size/3) + `""]}}`), new(userv1.UpdateUserRequest)},
	} {
		t.Run(name, func(t *testing.T) { // Alone: it measures what the process allocates.
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if err := test.codec.UnmarshalRead(t.Context(), bytes.NewBuffer(test.data), test.message); err != nil {
				t.Fatal(err)
			}
			runtime.ReadMemStats(&after)
			if allocated := after.TotalAlloc - before.TotalAlloc; allocated > size/4 {
				t.Errorf("%d bytes are allocated for a message of %d", allocated, size)
			}
			if err := rules.New().Validate(test.message); err == nil {
				t.Error("it is valid")
			}
		})
	}
}

// What is only large is decoded as ever.
func TestLargeMessagesAreDecodedWhole(t *testing.T) {
	t.Parallel()
	text := strings.Repeat(`[,]{\"}`, longListBytes)
	for _, data := range []string{
		fmt.Sprintf(`{"displayName": "%s", "roles": ["a", "b,\\", "c"]}`, text),
		fmt.Sprintf(`{%s"roles": ["%s", "b"]}`, strings.Repeat(" ", longListBytes), text),
	} {
		if got := withoutLongLists([]byte(data), (*userv1.CreateUserRequest)(nil).ProtoReflect().Descriptor(), false); string(got) != data {
			t.Errorf("%.40s… ends with %q", data, got[max(len(got)-40, 0):])
		}
	}
	request := &userv1.UpdateUserRequest{Update: &userv1.UserUpdate{DisplayName: proto.String(text), AddRoles: make([]string, maxListItems)}}
	data, err := proto.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	if got := withoutLongLists(data, request.ProtoReflect().Descriptor(), true); !bytes.Equal(got, data) {
		t.Errorf("%d of %d bytes are left", len(got), len(data))
	}
}
