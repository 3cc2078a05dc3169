package wire

import (
	"fmt"
	"sync"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"

	"github.com/example/userd/server/failure"
)

// maxExplainedBytes is the size of a message up to which an error lists every rule
// that the message breaks. No message that breaks none is larger.
const maxExplainedBytes = 64 << 10

// Validator checks messages against the rules of the schema. For a large message
// it stops at the first rule that is broken, which bounds what it costs to refuse
// one: a message has room for millions of roles.
type Validator struct {
	complete, first func() (protovalidate.Validator, error)
}

// NewValidator returns a validator that is made when it is needed: many a server
// never gets a message that accepted does not know.
func NewValidator() Validator {
	return Validator{
		complete: sync.OnceValues(func() (protovalidate.Validator, error) { return protovalidate.New() }),
		first: sync.OnceValues(func() (protovalidate.Validator, error) {
			return protovalidate.New(protovalidate.WithFailFast())
		}),
	}
}

// Validate implements protovalidate.Validator.
func (v Validator) Validate(message proto.Message, options ...protovalidate.ValidationOption) error {
	if accepted(message) || message.ProtoReflect().Descriptor().ParentFile().Package() != failure.Domain {
		return nil // Other services have no rules.
	}
	if err := checkTimestamps(message); err != nil {
		return err
	}
	made := v.complete
	if proto.Size(message) > maxExplainedBytes {
		made = v.first
	}
	rules, err := made()
	if err != nil {
		return fmt.Errorf("set up validation: %w", err)
	}
	return rules.Validate(message, options...)
}
