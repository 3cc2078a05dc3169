package server

import (
	"fmt"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
)

// maxExplainedBytes is the size of a message up to which an error lists every rule
// that the message breaks. No message that breaks none is larger.
const maxExplainedBytes = 64 << 10

// validator checks messages against the rules of the schema. For a large message
// it stops at the first rule that is broken, which bounds what it costs to refuse
// one: a message has room for millions of roles.
type validator struct {
	complete protovalidate.Validator
	first    protovalidate.Validator
}

func newValidator() (validator, error) {
	complete, err := protovalidate.New()
	if err != nil {
		return validator{}, fmt.Errorf("set up validation: %w", err)
	}
	first, err := protovalidate.New(protovalidate.WithFailFast())
	if err != nil {
		return validator{}, fmt.Errorf("set up validation: %w", err)
	}
	return validator{complete: complete, first: first}, nil
}

// Validate implements protovalidate.Validator.
func (v validator) Validate(message proto.Message, options ...protovalidate.ValidationOption) error {
	if accepted(message) {
		return nil
	}
	if proto.Size(message) > maxExplainedBytes {
		return v.first.Validate(message, options...)
	}
	return v.complete.Validate(message, options...)
}
