package cli

import "errors"

// Exit codes, as the README tells them to scripts.
const (
	Failure   = 1 // It went wrong, or a row of many did.
	WrongUse  = 2 // The command line, a variable or a setting makes no sense.
	Due       = 3 // The schema of a database is older than this program's.
	Interrupt = 130
)

// exitError is an error with the code that its command ends with.
type exitError struct {
	error
	code int
}

func (e exitError) Unwrap() error { return e.error }

// Exit returns err with an exit code. A nil error stays nil.
func Exit(code int, err error) error {
	if err == nil {
		return nil
	}
	return exitError{err, code}
}

// Wrong returns err as the fault of whoever has written the command line.
func Wrong(err error) error { return Exit(WrongUse, err) }

// Code is what a command ends with that has returned err.
func Code(err error) int {
	var exit exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.code
	default:
		return Failure
	}
}
