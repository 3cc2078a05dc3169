package store

import "context"

type (
	vitalKey      struct{}
	catchingUpKey struct{}
)

// Vital marks calls as those that keep the service alive: the samples and the relay of a
// cache, the head of the change log, probes. Each engine has connections for them alone,
// so that they never wait behind the calls of users.
func Vital(ctx context.Context) context.Context { return context.WithValue(ctx, vitalKey{}, true) }

// IsVital reports whether calls with a context are marked by [Vital].
func IsVital(ctx context.Context) bool { return ctx.Value(vitalKey{}) != nil }

// CatchingUp marks calls for those who read the past of the change log: the users of its
// changes are read beside the log, not instead of the lookups of others.
func CatchingUp(ctx context.Context) context.Context {
	return context.WithValue(ctx, catchingUpKey{}, true)
}

// IsCatchingUp reports whether calls with a context are marked by [CatchingUp].
func IsCatchingUp(ctx context.Context) bool { return ctx.Value(catchingUpKey{}) != nil }
