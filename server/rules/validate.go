package rules

import (
	"fmt"
	"sync"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"

	adminv1 "github.com/example/userd/gen/userd/admin/v1"
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

// hasRules reports whether a message is of one of our own services. Others have no rules.
func hasRules(message proto.Message) bool {
	switch message.ProtoReflect().Descriptor().ParentFile().Package() {
	case failure.Domain, adminv1.File_userd_admin_v1_status_proto.Package():
		return true
	}
	return false
}

// Validate implements protovalidate.Validator.
func (v Validator) Validate(message proto.Message, options ...protovalidate.ValidationOption) error {
	if accepted(message) || !hasRules(message) {
		return nil
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
