package rules

import (
	"fmt"
	"sync"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"

	"github.com/example/userd/server/failure"
)

// Validator checks messages against the rules of the schema. What it costs to refuse a
// message is bounded, whatever its size: see shortened.
type Validator struct {
	rules func() (protovalidate.Validator, error)
}

// New returns a validator that is made when it is needed: many a server
// never gets a message that accepted does not know.
func New() Validator {
	return Validator{sync.OnceValues(func() (protovalidate.Validator, error) { return protovalidate.New() })}
}

// Validate implements protovalidate.Validator.
func (v Validator) Validate(message proto.Message, options ...protovalidate.ValidationOption) error {
	if accepted(message) || message.ProtoReflect().Descriptor().ParentFile().Package() != failure.Domain {
		return nil // Other services have no rules.
	}
	if err := checkTimestamps(message); err != nil {
		return err
	}
	rules, err := v.rules()
	if err != nil {
		return fmt.Errorf("set up validation: %w", err)
	}
	if short := shortened(message.ProtoReflect()).Interface(); short != message {
		if err := rules.Validate(short, options...); err != nil {
			return err
		}
	}
	return rules.Validate(message, options...)
}
