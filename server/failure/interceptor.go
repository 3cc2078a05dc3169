package failure

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"

	"connectrpc.com/connect/v2"

	"github.com/example/userd/gen/user/v1/userv1connect"
)

// Interceptor turns every failure, panics too, into an error that callers
// may see, and logs the cause of the internal ones.
func Interceptor(logger *slog.Logger, invalid *InvalidUsers) connect.ServerInterceptor {
	return func(next connect.ServerFunc) connect.ServerFunc {
		return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) (err error) {
			defer func() {
				if cause := recover(); cause != nil {
					logger.ErrorContext(ctx, "handler panicked", "procedure", spec.Procedure,
						"panic", fmt.Sprint(cause), "stack", string(debug.Stack()))
					err = New(Internal)
				}
			}()
			err = next(ctx, spec, stream)
			if err == nil {
				return nil
			}
			if spec.Schema != nil && !HasReasons(spec.Procedure) {
				return errorWithoutReason(err)
			}
			shown := ForCaller(err)
			if shown.Code() == connect.CodeInternal && !IsMalformed(shown) {
				invalid.Count(err)
				logger.ErrorContext(ctx, "request failed", "procedure", spec.Procedure, "cause", err.Error())
			}
			return shown
		}
	}
}

// HasReasons reports whether an RPC is one of user.v1. Errors of other services are
// their own.
func HasReasons(procedure string) bool {
	return strings.HasPrefix(procedure, "/"+userv1connect.UserServiceName+"/")
}

// errorWithoutReason is ForCaller for other services: what the table knows has its
// code and text.
func errorWithoutReason(err error) error {
	if known, ok := Known(err); ok {
		return connect.NewError(known.Code, known.Message()).WithCause(err)
	}
	return err
}
