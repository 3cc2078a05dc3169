package rules

import (
	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	validTimeRule = "timestamp.valid"
	validTimeText = "must be of the years 1 to 9999, with 0 to 999,999,999 nanoseconds"
)

// checkTimestamps refuses times that JSON cannot say: the binary form has room for
// them, and rules of the schema see what is left when the nanoseconds were carried over.
func checkTimestamps(message proto.Message) error {
	violations := invalidTimestamps(nil, nil, message.ProtoReflect())
	if len(violations) == 0 {
		return nil
	}
	return &protovalidate.ValidationError{Violations: violations}
}

// invalidTimestamps appends a violation for each invalid Timestamp in a message, which
// stands at path.
func invalidTimestamps(found []*protovalidate.Violation, path []*validate.FieldPathElement, message protoreflect.Message) []*protovalidate.Violation {
	if at, ok := message.Interface().(*timestamppb.Timestamp); ok {
		if at.IsValid() {
			return found
		}
		return append(found, invalidTime(path))
	}
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		if field.Message() == nil || field.IsMap() {
			return true // No map of the schema has messages.
		}
		if !field.IsList() {
			found = invalidTimestamps(found, appendPath(path, field, nil), value.Message())
			return true
		}
		for i := range value.List().Len() {
			at := &validate.FieldPathElement_Index{Index: uint64(i)}
			found = invalidTimestamps(found, appendPath(path, field, at), value.List().Get(i).Message())
		}
		return true
	})
	return found
}

// appendPath returns a new path.
func appendPath(path []*validate.FieldPathElement, field protoreflect.FieldDescriptor, index *validate.FieldPathElement_Index) []*validate.FieldPathElement {
	element := &validate.FieldPathElement{FieldName: proto.String(string(field.Name()))}
	if index != nil {
		element.Subscript = index
	}
	return append(path[:len(path):len(path)], element)
}

func invalidTime(path []*validate.FieldPathElement) *protovalidate.Violation {
	rule := &validate.FieldPathElement{FieldName: proto.String("timestamp")}
	return &protovalidate.Violation{Proto: &validate.Violation{
		Field:   &validate.FieldPath{Elements: path},
		Rule:    &validate.FieldPath{Elements: []*validate.FieldPathElement{rule}},
		RuleId:  proto.String(validTimeRule),
		Message: proto.String(validTimeText),
	}}
}
