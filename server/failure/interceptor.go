package failure

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"

	"connectrpc.com/connect/v2"

	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/gen/userd/admin/v1/adminv1connect"
)

// errPanic is the cause of a failure that the log has said more about.
var errPanic = errors.New("handler panicked")

// Interceptor turns every failure, panics too, into an error that callers may see. What it
// was made of is its cause, for the log.
func Interceptor(logger *slog.Logger, invalid *InvalidUsers) connect.ServerInterceptor {
	return func(next connect.ServerFunc) connect.ServerFunc {
		return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) (err error) {
			defer func() {
				if cause := recover(); cause != nil {
					logger.ErrorContext(ctx, "handler panicked", "procedure", strings.TrimPrefix(spec.Procedure, "/"),
						"panic", fmt.Sprint(cause), "stack", string(debug.Stack()))
					err = New(Internal).WithCause(errPanic)
				}
			}()
			err = next(ctx, spec, stream)
			if err == nil {
				return nil
			}
			if spec.Schema != nil && !HasReasons(spec.Procedure) {
				return errorWithoutReason(err)
			}
			shown := ForCaller(ctx, err)
			if shown.Code() == connect.CodeInternal && !IsMalformed(shown) {
				invalid.Count(err)
			}
			return shown
		}
	}
}

// HasReasons reports whether an RPC is one of our own services. Errors of other services are
// their own.
func HasReasons(procedure string) bool {
	return strings.HasPrefix(procedure, "/"+userv1connect.UserServiceName+"/") ||
		strings.HasPrefix(procedure, "/"+adminv1connect.StatusServiceName+"/")
}

// errorWithoutReason is ForCaller for other services: what the table knows has its
// code and text.
func errorWithoutReason(err error) error {
	if known, ok := Known(err); ok {
		return connect.NewError(known.Code, known.Message()).WithCause(err)
	}
	return err
}
