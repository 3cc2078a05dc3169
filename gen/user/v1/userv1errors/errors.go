// Package userv1errors tells why calls of user.v1.UserService have failed, to programs that
// call it with connect-go or with grpc-go. It is written by hand.
package userv1errors

import (
	"errors"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectproto"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"

	userv1 "github.com/example/userd/gen/user/v1"
)

// domain is that of the reasons of this service.
const domain = "user.v1"

// Reason is the reason of an error, also of one that wraps it. It is REASON_UNSPECIFIED where
// there is none: the error came from elsewhere, such as a proxy or the network, or it has a
// reason that this version of the schema does not know.
func Reason(err error) userv1.Reason {
	for _, detail := range details(err) {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.GetDomain() == domain {
			return userv1.Reason(userv1.Reason_value["REASON_"+info.GetReason()])
		}
	}
	return userv1.Reason_REASON_UNSPECIFIED
}

// RetryDelay is how long the server asks its caller to wait, and whether it does. Nothing of
// such a call was done, but for the earlier rows of an import.
func RetryDelay(err error) (time.Duration, bool) {
	for _, detail := range details(err) {
		if info, ok := detail.(*errdetails.RetryInfo); ok {
			return info.GetRetryDelay().AsDuration(), true
		}
	}
	return 0, false
}

// details are the messages that an error carries, as far as this program knows their types.
func details(err error) []any {
	var failed *connect.Error
	if !errors.As(err, &failed) {
		s, _ := status.FromError(err) // Has no details where err is of something else.
		return s.Details()
	}
	var messages []any
	for _, detail := range failed.Details() {
		if message, err := connectproto.UnmarshalErrorDetail(detail); err == nil {
			messages = append(messages, message)
		}
	}
	return messages
}
