package store

import "context"

type vitalKey struct{}

// Vital marks calls as those that keep the service alive: the samples and the relay of a
// cache, the head of the change log, probes. Each engine has connections for them alone,
// so that they never wait behind the calls of users.
func Vital(ctx context.Context) context.Context { return context.WithValue(ctx, vitalKey{}, true) }

// IsVital reports whether calls with a context are marked by [Vital].
func IsVital(ctx context.Context) bool { return ctx.Value(vitalKey{}) != nil }
