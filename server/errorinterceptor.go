package server

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"

	"connectrpc.com/connect/v2"

	"github.com/example/userd/gen/user/v1/userv1connect"
)

// errorInterceptor turns every failure, panics too, into an error that callers
// may see, logs the cause of the internal ones, and shows them to internal.
func errorInterceptor(logger *slog.Logger, internal func(error)) connect.ServerInterceptor {
	causes := &causeLog{logger: logger}
	return func(next connect.ServerFunc) connect.ServerFunc {
		return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) (err error) {
			defer func() {
				if cause := recover(); cause != nil {
					logger.ErrorContext(ctx, "handler panicked", "procedure", spec.Procedure,
						"panic", fmt.Sprint(cause), "stack", string(debug.Stack()))
					err = newError(internalStatus)
				}
			}()
			err = next(ctx, spec, stream)
			if err == nil {
				return nil
			}
			if spec.Schema != nil && !hasReasons(spec.Procedure) {
				return errorWithoutReason(err)
			}
			causes.log(ctx, err)
			wire := wireError(err)
			if wire.Code() == connect.CodeInternal && !isMalformed(wire) {
				internal(err)
				logger.ErrorContext(ctx, "request failed", "procedure", spec.Procedure, "cause", err.Error())
			}
			return wire
		}
	}
}

// hasReasons reports whether an RPC is one of user.v1. Errors of other services are
// their own.
func hasReasons(procedure string) bool {
	return strings.HasPrefix(procedure, "/"+userv1connect.UserServiceName+"/")
}

// errorWithoutReason is wireError for other services: what the table knows has its
// code and text.
func errorWithoutReason(err error) error {
	if known, ok := knownStatus(err); ok {
		return connect.NewError(known.code, known.message).WithCause(err)
	}
	return err
}
