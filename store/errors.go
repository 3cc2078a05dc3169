package store

import (
	"context"
	"errors"
	"strings"
)

// What a Store returns besides errors of its database. The engines translate
// their driver's errors into these in one place each; the server maps them to
// codes in one table.
var (
	// ErrNotFound: there is no user with this id, email or external id.
	ErrNotFound = errors.New("no such user")
	// ErrEmailTaken: another user has the email.
	ErrEmailTaken = errors.New("email is taken")
	// ErrIDTaken: another user has or had the id.
	ErrIDTaken = errors.New("user id is taken")
	// ErrExternalIDTaken: another user has the external id.
	ErrExternalIDTaken = errors.New("external id is taken")
	// ErrUserDisabled: the user is disabled.
	ErrUserDisabled = errors.New("user is disabled")
	// ErrVersionMismatch: the user is not at the expected version.
	ErrVersionMismatch = errors.New("user is not at the expected version")
	// ErrTooManyRoles: the user would have more than MaxRoles.
	ErrTooManyRoles = errors.New("user would have too many roles")
	// ErrTooManyAttributes: the user would have more than MaxAttributes, or more than
	// MaxAttributeBytes of them.
	ErrTooManyAttributes = errors.New("user would have too many attributes")
	// ErrConflict: the write lost against a concurrent one and can be sent again.
	ErrConflict = errors.New("conflict with a concurrent write")
	// ErrUnavailable: the database cannot be reached, or does not answer.
	ErrUnavailable = errors.New("store is unavailable")
	// ErrOverloaded: there are more calls than the store can do. Nothing of this one has
	// reached it.
	ErrOverloaded = errors.New("store is overloaded")
	// ErrNotEmpty: the store has users that do not come from the copy that is to
	// go on.
	ErrNotEmpty = errors.New("store is not empty")
	// ErrInvalidCursor: the store did not make this cursor.
	ErrInvalidCursor = errors.New("invalid cursor")
	// ErrCursorExpired: changes after the cursor are no longer kept.
	ErrCursorExpired = errors.New("cursor has expired")
)

// CauseError is an error with a cause that an operator can do something about.
type CauseError struct {
	Kind  error  // What it is to callers: ErrUnavailable, or context.DeadlineExceeded.
	Cause string // What is wrong and what to do, for the log: no secrets, no personal data.
	Err   error  // What the driver says; nil where the store has found it out itself.
}

// Unavailable returns ErrUnavailable with its cause.
func Unavailable(cause string, err error) error { return &CauseError{ErrUnavailable, cause, err} }

// TooLate returns context.DeadlineExceeded with what the call has waited for.
func TooLate(cause string, err error) error {
	return &CauseError{context.DeadlineExceeded, cause, err}
}

// Error has one line: drivers put line breaks between the hosts that they have tried. What
// happened with each of them alike is said once.
func (e *CauseError) Error() string {
	if e.Err == nil {
		return e.Cause
	}
	said := e.Cause + ":"
	for line := range strings.Lines(e.Err.Error()) {
		if line = strings.Join(strings.Fields(line), " "); !strings.Contains(said, line) {
			said += " " + line
		}
	}
	return said
}

// Unwrap makes the error one of its kind, and of what the driver says.
func (e *CauseError) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}
