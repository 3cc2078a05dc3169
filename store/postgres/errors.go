package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/puddle/v2"

	"github.com/example/userd/store"
)

var errClosed = fmt.Errorf("store is closed: %w", store.ErrUnavailable)

// errRestored: the database was replaced while the store was open. Its identity
// is another now, so the store has to be opened again.
var errRestored = store.Unavailable("the database was restored while userd had it open: restart userd", nil)

// uniqueViolation is PostgreSQL's code for a row that a unique index refuses.
const uniqueViolation = "23505"

// protocolViolation is PostgreSQL's code for a message that has no place where it is.
// PgBouncer uses it for what it does not allow.
const protocolViolation = "08P01"

// errReadOnly: a session cannot write; its server has become a standby.
var errReadOnly = store.Unavailable(readOnly, nil)

// translate returns err as the errors of package store, for a call made with ctx.
// PostgreSQL's codes stand in this file, and in causes.go, which has what people are told of them.
func translate(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	switch ended := ctx.Err(); {
	case errors.Is(ended, context.DeadlineExceeded):
		return store.TooLate(cmp.Or(dialCause(err), tooLate), err)
	case ended != nil:
		return ended
	case errors.Is(err, pgx.ErrNoRows):
		return store.ErrNotFound
	case errors.Is(err, puddle.ErrClosedPool), errors.Is(err, context.Canceled): // By the pool, which closes.
		return errClosed
	}
	switch sentinel := classify(err); sentinel {
	case nil:
		return err
	case store.ErrUnavailable:
		return store.Unavailable(causeOf(err), err)
	default:
		return fmt.Errorf("%w: %w", sentinel, err)
	}
}

// classify returns the sentinel that err is a case of, or nil.
func classify(err error) error {
	if errors.Is(err, errRaced) {
		return store.ErrConflict
	}
	if refused := refusal(""); lostConnection(err) || errors.As(err, &refused) {
		return store.ErrUnavailable
	}
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) {
		return nil
	}
	switch pgErr.Code {
	case uniqueViolation:
		return classifyDuplicate(pgErr.ConstraintName)
	case "40001", "40P01", lockNotAvailable: // serialization_failure, deadlock_detected
		return store.ErrConflict
	case "25006", // read_only_sql_transaction: a primary that has become a standby
		"28000", "28P01", "3D000", "42501", // What an operator changes.
		"25P03", "25P04", queryCanceled, "57P01", "57P02", "57P03", "57P04", "57P05": // timeouts, shutdown, start-up
		return store.ErrUnavailable
	}
	switch pgErr.Code[:2] {
	case "08", "53", "58": // connection_exception, insufficient_resources, system_error
		return store.ErrUnavailable
	}
	return nil
}

func classifyDuplicate(constraint string) error {
	switch constraint {
	case "users_email_key":
		return store.ErrEmailTaken
	case "users_external_id_key":
		return store.ErrExternalIDTaken
	case "users_pkey", "deleted_users_pkey":
		return store.ErrIDTaken
	}
	return nil
}

// duplicate reports whether a row was refused because another has its id, email or external id.
func duplicate(err error) bool { return hasCode(err, uniqueViolation) }

// hasCode reports whether err is PostgreSQL's answer with a code.
func hasCode(err error, code string) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && pgErr.Code == code
}

// raced returns errRaced for a row that was refused although nobody had its id, email or
// external id before: another transaction took it meanwhile.
func raced(err error) error {
	if duplicate(err) && classify(err) != nil {
		return fmt.Errorf("%w: %w", errRaced, err)
	}
	return err
}

// lostConnection reports whether err is trouble with a connection rather than an
// answer to a statement.
func lostConnection(err error) bool {
	var connectErr *pgconn.ConnectError
	var netErr net.Error
	return errors.As(err, &connectErr) || errors.As(err, &netErr) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		pgconn.SafeToRetry(err)
}

// brokenPool reports whether the other connections of the pool are likely to be as
// useless as the one that err came from.
func brokenPool(err error) bool {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		switch pgErr.Code {
		case "25006", "57P01", "57P02", "57P03":
			return true
		}
	}
	return errors.Is(err, errReadOnly) || lostConnection(err)
}

// lockNotAvailable is PostgreSQL's code for a statement that has waited for a lock for
// longer than lock_timeout.
const lockNotAvailable = "55P03"

// queryCanceled is PostgreSQL's code for a statement that has run for longer than
// statement_timeout, or that was to end.
const queryCanceled = "57014"

// tooManyConnections is PostgreSQL's code for a connection that it has no room for.
const tooManyConnections = "53300"

// withoutExtension are PostgreSQL's codes for an extension that the role may not make, or that
// is not installed: as not supported, or as a file that is not there.
var withoutExtension = []string{"42501", "0A000", "58P01"}

func lockTimeout(err error) bool { return hasCode(err, lockNotAvailable) }

// conflict reports whether PostgreSQL rolled a transaction back for the sake of
// another, so that running it again is safe, and may end well.
func conflict(err error) bool {
	return errors.Is(classify(err), store.ErrConflict) && !lockTimeout(err)
}
