package userdtest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	userv1 "github.com/example/userd/gen/user/v1"
)

// Descriptors returns the path of a FileDescriptorSet of the schema and of error
// details, every file after its imports. The rules of protovalidate are not in it:
// callers need not know them, and not every compiler does.
func Descriptors(t testing.TB) string {
	t.Helper()
	path, err := descriptors()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var descriptors = sync.OnceValues(func() (string, error) {
	var set descriptorpb.FileDescriptorSet
	seen := map[string]bool{}
	var add func(file protoreflect.FileDescriptor)
	add = func(file protoreflect.FileDescriptor) {
		if seen[file.Path()] || isRules(file.Path()) {
			return
		}
		seen[file.Path()] = true
		for i := range file.Imports().Len() {
			add(file.Imports().Get(i).FileDescriptor)
		}
		set.File = append(set.File, withoutRules(protodesc.ToFileDescriptorProto(file)))
	}
	add(userv1.File_user_v1_user_service_proto)
	add(status.File_google_rpc_status_proto)
	add(errdetails.File_google_rpc_error_details_proto)
	data, err := proto.Marshal(&set)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "descriptors")
	return path, os.WriteFile(path, data, 0o600)
})

func isRules(path string) bool { return strings.HasPrefix(path, "buf/validate/") }

// withoutRules also leaves out where languages have the code: each has it where it
// belongs by the package.
func withoutRules(file *descriptorpb.FileDescriptorProto) *descriptorpb.FileDescriptorProto {
	if strings.HasPrefix(file.GetPackage(), "user.") {
		file.Options = nil
	}
	file.Dependency = slices.DeleteFunc(file.GetDependency(), isRules)
	for _, message := range file.GetMessageType() {
		message.Options = nil
		for _, field := range message.GetField() {
			field.Options = nil
		}
	}
	return file
}
