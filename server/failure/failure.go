package failure

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"buf.build/go/protovalidate"
	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"connectrpc.com/connect/v2/connectproto"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/store"
)

// Domain is the domain of every google.rpc.ErrorInfo.
const Domain = "user.v1"

// MaxImportRows is the most rows of one BatchCreateUsers stream.
const MaxImportRows = 100_000

// RetryDelay is how long callers that were refused for overload are asked to wait. Whoever
// sends again earlier finds the server no less busy.
const RetryDelay = 250 * time.Millisecond

// Failures that are the server's own, beside those of package store.
var (
	ErrInvalidPageToken     = errors.New("invalid page token")
	ErrMessageTooLarge      = errors.New("message is too large")
	ErrTooManyLargeMessages = errors.New("too many large messages at a time")
	ErrTooManyRows          = errors.New("too many rows in one import")
	ErrSlowConsumer         = errors.New("client does not read its stream")
	ErrDraining             = errors.New("server is stopping")
	ErrConnectionAge        = fmt.Errorf("connection is as old as it may be: %w", ErrDraining) // As far as it goes.
	ErrNoImport             = errors.New("what only an import may do")
	ErrNoAudit              = errors.New("the audit log cannot be written")
	ErrRevoked              = errors.New("credentials are not valid any more")
)

// What is wrong with a body that breaks the framing of its protocol. It is the caller's
// fault, or that of a proxy on the way.
var (
	ErrMalformedFrame = errors.New("body does not keep to the framing of its protocol")
	// ErrDamaged is for messages that cannot be unpacked.
	ErrDamaged = errors.New("message cannot be unpacked")
	// ErrCompressedFrame has a code of its own: gRPC says so in its specification of
	// compression.
	ErrCompressedFrame = errors.New("compressed message without a declared compression")
)

// IsMalformed reports whether an error is a body that breaks its framing.
func IsMalformed(err error) bool {
	return errors.Is(err, ErrMalformedFrame) || errors.Is(err, ErrCompressedFrame)
}

// IsOverload reports whether a call was refused because the store has too many.
func IsOverload(err error) bool { return errors.Is(err, store.ErrOverloaded) }

// TooManyStreams is for streams of callers who have too many open.
var TooManyStreams = Status{connect.CodeResourceExhausted, userv1.Reason_REASON_OVERLOADED, "", "the caller has as many streams open as it may; end some, or retry later"}

// Status is how a failure looks to a caller.
type Status struct {
	Code   connect.Code
	Reason userv1.Reason
	Field  string // At fault, or "".
	Text   string // Without the field.
}

// Message is the text of the error.
func (s Status) Message() string {
	if s.Field == "" {
		return s.Text
	}
	return s.Field + ": " + s.Text
}

var messageTooLarge = Status{connect.CodeResourceExhausted, userv1.Reason_REASON_MESSAGE_TOO_LARGE, "", "the message is larger than the server takes"}

// statuses is the one table from failures to what callers see of them.
var statuses = []struct {
	err    error
	status Status
}{
	{store.ErrNotFound, Status{connect.CodeNotFound, userv1.Reason_REASON_USER_NOT_FOUND, "", "there is no user with this id"}},
	{store.ErrEmailTaken, Status{connect.CodeAlreadyExists, userv1.Reason_REASON_EMAIL_TAKEN, "email", "another user has this address"}},
	{store.ErrIDTaken, Status{connect.CodeAlreadyExists, userv1.Reason_REASON_USER_ID_TAKEN, "user_id", "another user has or had this id"}},
	{store.ErrExternalIDTaken, Status{connect.CodeAlreadyExists, userv1.Reason_REASON_EXTERNAL_ID_TAKEN, "external_id", "another user has this id"}},
	{store.ErrUserDisabled, Status{connect.CodeFailedPrecondition, userv1.Reason_REASON_USER_DISABLED, "", "the user is disabled"}},
	{store.ErrVersionMismatch, Status{connect.CodeAborted, userv1.Reason_REASON_VERSION_MISMATCH, "", "the user is not at the expected version; read it again"}},
	{store.ErrTooManyRoles, Status{connect.CodeInvalidArgument, userv1.Reason_REASON_TOO_MANY_ROLES, "add_roles", fmt.Sprintf("a user can have at most %d roles", store.MaxRoles)}},
	{store.ErrTooManyAttributes, Status{connect.CodeInvalidArgument, userv1.Reason_REASON_TOO_MANY_ATTRIBUTES, "set_attributes", fmt.Sprintf("a user can have at most %d attributes, and %d bytes of them", store.MaxAttributes, store.MaxAttributeBytes)}},
	{store.ErrConflict, Status{connect.CodeAborted, userv1.Reason_REASON_CONFLICT, "", "a concurrent write came first; send the request again"}},
	{store.ErrUnavailable, Status{connect.CodeUnavailable, userv1.Reason_REASON_UNAVAILABLE, "", "the store cannot be reached; retry"}},
	{store.ErrInvalidCursor, Status{connect.CodeInvalidArgument, userv1.Reason_REASON_INVALID_CURSOR, "cursor", `must be empty, "earliest" or a cursor of this database; after a restore from a backup those of before are not`}},
	{store.ErrCursorExpired, Status{connect.CodeOutOfRange, userv1.Reason_REASON_CURSOR_EXPIRED, "", "the changes after this cursor are no longer kept; start over with an empty cursor and list all users"}},
	{ErrInvalidPageToken, Status{connect.CodeInvalidArgument, userv1.Reason_REASON_INVALID_PAGE_TOKEN, "page_token", "must be empty or the token of the page before, with the same filters"}},
	{ErrMessageTooLarge, messageTooLarge},
	{ErrTooManyLargeMessages, Status{connect.CodeResourceExhausted, userv1.Reason_REASON_OVERLOADED, "", "the server holds as many large messages as it can; retry later"}},
	{ErrMalformedFrame, Status{connect.CodeInvalidArgument, userv1.Reason_REASON_MALFORMED_REQUEST, "", "the request does not keep to the framing of its protocol"}},
	{ErrCompressedFrame, Status{connect.CodeInternal, userv1.Reason_REASON_MALFORMED_REQUEST, "", "a message of the request is compressed, and no compression is declared"}},
	{ErrDamaged, Status{connect.CodeInvalidArgument, userv1.Reason_REASON_MALFORMED_REQUEST, "", "a message of the request is not compressed as it says, or is damaged"}},
	{ErrTooManyRows, Status{connect.CodeResourceExhausted, userv1.Reason_REASON_TOO_MANY_ROWS, "", fmt.Sprintf("one import takes at most %d rows; those before are stored, send the others in another stream", MaxImportRows)}},
	{store.ErrOverloaded, Status{connect.CodeResourceExhausted, userv1.Reason_REASON_OVERLOADED, "", "the server has as many calls of this kind as it can do; retry later"}},
	{ErrSlowConsumer, Status{connect.CodeResourceExhausted, userv1.Reason_REASON_SLOW_CONSUMER, "", "the stream was not read for too long; resume from the last cursor"}},
	{ErrNoImport, Status{connect.CodeInvalidArgument, userv1.Reason_REASON_INVALID_FIELD, "on_conflict", "must not be given: BatchCreateUsers has it, this call creates users only"}},
	{ErrConnectionAge, Status{connect.CodeUnavailable, userv1.Reason_REASON_UNAVAILABLE, "", "the connection is as old as it may be; connect again and resume"}},
	{ErrDraining, Status{connect.CodeUnavailable, userv1.Reason_REASON_UNAVAILABLE, "", "the server is stopping; connect again and resume"}},
	{ErrNoAudit, Status{connect.CodeUnavailable, userv1.Reason_REASON_UNAVAILABLE, "", "the audit log cannot be written"}},
	{ErrRevoked, Unauthenticated("the credentials of this call are not valid any more")},
	{context.Canceled, Status{connect.CodeCanceled, userv1.Reason_REASON_CANCELED, "", "the request was cancelled"}},
	{context.DeadlineExceeded, Status{connect.CodeDeadlineExceeded, userv1.Reason_REASON_DEADLINE_EXCEEDED, "", "the deadline of the request has passed"}},
}

// transportStatuses are for the errors that Connect itself makes: by code, since
// it exports no sentinels.
var transportStatuses = map[connect.Code]Status{
	connect.CodeInvalidArgument:   {connect.CodeInvalidArgument, userv1.Reason_REASON_MALFORMED_REQUEST, "", "the request cannot be read"},
	connect.CodeResourceExhausted: messageTooLarge,
	connect.CodeUnimplemented:     {connect.CodeUnimplemented, userv1.Reason_REASON_UNIMPLEMENTED, "", "the method takes one message, and the request has another number of them"},
	connect.CodeCanceled:          {connect.CodeCanceled, userv1.Reason_REASON_CANCELED, "", "the request was cancelled"},
	connect.CodeDeadlineExceeded:  {connect.CodeDeadlineExceeded, userv1.Reason_REASON_DEADLINE_EXCEEDED, "", "the deadline of the request has passed"},
}

// UnknownMethod is for calls of an RPC that is not there.
var UnknownMethod = Status{connect.CodeUnimplemented, userv1.Reason_REASON_UNIMPLEMENTED, "", "there is no such method"}

// UnknownCompression is for requests in a compression that the server does not know.
var UnknownCompression = Status{connect.CodeUnimplemented, userv1.Reason_REASON_UNIMPLEMENTED, "", "unknown compression; the server knows identity, gzip and zstd"}

// HeadersTooLarge is for requests whose header is larger than the server takes.
var HeadersTooLarge = Status{
	connect.CodeResourceExhausted, userv1.Reason_REASON_MESSAGE_TOO_LARGE, "", "the header of the request is larger than the server takes, which is 64 KiB",
}

// Internal is for what is not the caller's fault, and not known.
var Internal = Status{connect.CodeInternal, userv1.Reason_REASON_INTERNAL, "", "internal error"}

// WrongHost is for requests that ask for a host that the server does not answer for.
func WrongHost(host string) Status {
	text := fmt.Sprintf("the server does not answer for the host %.255q; it does when started with --allowed-host", host)
	return Status{connect.CodePermissionDenied, userv1.Reason_REASON_PERMISSION_DENIED, "", text}
}

// Unauthenticated is for requests without valid credentials.
func Unauthenticated(text string) Status {
	return Status{connect.CodeUnauthenticated, userv1.Reason_REASON_UNAUTHENTICATED, "", text}
}

// NoKeys is for requests whose token cannot be verified for now.
var NoKeys = Status{connect.CodeUnavailable, userv1.Reason_REASON_UNAVAILABLE, "", "the server has no keys of the token's issuer yet; retry"}

// MissingScope is for requests whose caller may not do what they ask.
func MissingScope(scope string) Status {
	text := fmt.Sprintf("the credentials of the request lack the scope %s", scope)
	return Status{connect.CodePermissionDenied, userv1.Reason_REASON_PERMISSION_DENIED, "", text}
}

// decodeError is a request that the codec could not decode.
type decodeError struct {
	status Status
	cause  error
}

// NewDecodeError is the error of a request that could not be decoded.
func NewDecodeError(status Status, cause error) error { return &decodeError{status, cause} }

func (e *decodeError) Error() string { return e.status.Message() }
func (e *decodeError) Unwrap() error { return e.cause }

// overloaded is for store.ErrOverloaded. Where it is needed, it is needed thousands of times
// a second.
var overloaded = sync.OnceValue(func() *connect.Error {
	known, _ := Known(store.ErrOverloaded)
	return New(known).WithCause(store.ErrOverloaded)
})

// ForCaller is err as the caller of a context may see it, who knows fields by the names of
// its protocol.
func ForCaller(ctx context.Context, err error) *connect.Error {
	if err == store.ErrOverloaded {
		return overloaded()
	}
	authored := new(connect.Error)
	ours := errors.As(err, &authored) && !authored.IsRemote()
	if ours && (len(authored.Details()) > 0 || connecthttp.IsNotModifiedError(authored)) {
		return authored // It is one already.
	}
	if invalid := new(protovalidate.ValidationError); errors.As(err, &invalid) {
		listed := fieldViolations(ctx, invalid, maxViolations)
		return newError(invalidField(invalid, listed), listed).WithCause(err)
	}
	if malformed := new(decodeError); errors.As(err, &malformed) {
		return New(malformed.status).WithCause(err)
	}
	if known, ok := Known(err); ok {
		return New(known.named(ctx)).WithCause(err)
	}
	if !ours {
		return New(Internal).WithCause(err)
	}
	if status, ok := transportStatuses[authored.Code()]; ok {
		return New(status).WithCause(err)
	}
	if corrupt := base64.CorruptInputError(0); errors.As(err, &corrupt) { // In the query of a GET.
		return MalformedField("message", "must be base64").WithCause(err)
	}
	return New(Internal).WithCause(err)
}

// Known is what the table says of err.
func Known(err error) (Status, bool) {
	for _, row := range statuses {
		if errors.Is(err, row.err) {
			return row.status, true
		}
	}
	return Status{}, false
}

// StatusOf is the status of the failure of one row or update, for the caller of a context.
func StatusOf(ctx context.Context, err error) Status {
	if known, ok := Known(err); ok {
		return known.named(ctx)
	}
	return Internal
}

// New authors an error with its ErrorInfo, and a violation of the field at fault.
func New(s Status) *connect.Error {
	if s.Field == "" {
		return newError(s, nil)
	}
	return newError(s, []*errdetails.BadRequest_FieldViolation{{Field: s.Field, Description: s.Text, Reason: reasonName(s.Reason)}})
}

func newError(s Status, violations []*errdetails.BadRequest_FieldViolation) *connect.Error {
	err := connect.NewError(s.Code, s.Message())
	err = WithDetail(err, &errdetails.ErrorInfo{Reason: reasonName(s.Reason), Domain: Domain})
	if s.Reason == userv1.Reason_REASON_OVERLOADED {
		err = WithDetail(err, &errdetails.RetryInfo{RetryDelay: durationpb.New(RetryDelay)})
	}
	if len(violations) > 0 {
		err = WithDetail(err, &errdetails.BadRequest{FieldViolations: violations})
	}
	return err
}

// UnknownCall is the error of a call of an RPC that is not there. Only our own services have reasons.
func UnknownCall(procedure string) *connect.Error {
	if HasReasons(procedure) {
		return New(UnknownMethod)
	}
	return connect.NewError(UnknownMethod.Code, UnknownMethod.Message())
}

// WithDetail adds a detail. Packing fails for no message of ours: they are all
// valid UTF-8.
func WithDetail(err *connect.Error, message proto.Message) *connect.Error {
	detail, packErr := connectproto.NewErrorDetail(message)
	if packErr != nil {
		return err.WithCause(packErr)
	}
	return err.WithDetail(detail)
}

// reasonName is the name of a reason in an ErrorInfo.
func reasonName(reason userv1.Reason) string {
	return strings.TrimPrefix(reason.String(), "REASON_")
}

// MalformedField is the error of a request whose header or parameter is not what it
// must be.
func MalformedField(name, rule string) *connect.Error {
	return New(Status{connect.CodeInvalidArgument, userv1.Reason_REASON_MALFORMED_REQUEST, name, rule})
}

// What an error says of a caller's mistakes, at most. Over gRPC an error stands in the
// trailers twice, the second time in base64, and peers take 8 KiB of those.
const (
	maxViolations     = 16
	maxViolationBytes = 2 << 10
	// maxRowViolations is for one row of an import or update stream, of which the server
	// holds thousands.
	maxRowViolations = 4
)

// InvalidRow is what is wrong with one message of a stream of them, for the caller of a
// context.
func InvalidRow(ctx context.Context, invalid *protovalidate.ValidationError) Status {
	return invalidField(invalid, fieldViolations(ctx, invalid, maxRowViolations))
}

// invalidField says in one line what is wrong with a message that breaks rules, of which
// some are listed. Texts of rules hold no values.
func invalidField(invalid *protovalidate.ValidationError, listed []*errdetails.BadRequest_FieldViolation) Status {
	texts := make([]string, 0, len(listed)+1)
	for _, violation := range listed {
		text := violation.GetDescription()
		if field := violation.GetField(); field != "" {
			text = field + ": " + text
		}
		texts = append(texts, text)
	}
	if more := len(invalid.Violations) - len(listed); more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", more))
	}
	return Status{connect.CodeInvalidArgument, userv1.Reason_REASON_INVALID_FIELD, "", strings.Join(texts, "; ")}
}

// fieldViolations are the first of the rules that a message breaks, at most so many and
// maxViolationBytes, with the names that the caller of a context has for fields.
func fieldViolations(ctx context.Context, invalid *protovalidate.ValidationError, most int) []*errdetails.BadRequest_FieldViolation {
	listed := make([]*errdetails.BadRequest_FieldViolation, 0, min(most, len(invalid.Violations)))
	for size := 0; len(listed) < cap(listed); {
		broken := invalid.Violations[len(listed)]
		violation := &errdetails.BadRequest_FieldViolation{
			Field:       named(ctx, fieldOf(broken.Proto)),
			Description: named(ctx, description(broken)),
			Reason:      broken.Proto.GetRuleId(),
		}
		if size += proto.Size(violation); size > maxViolationBytes {
			break
		}
		listed = append(listed, violation)
	}
	return listed
}
