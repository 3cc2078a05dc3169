package server

import (
	"context"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"net/http"
	"strings"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	"github.com/example/userd/store"
)

// notModified reports whether the caller of a Connect GET has these users
// already, and gives the response what HTTP caches need. For all other requests
// it does nothing.
func notModified(ctx context.Context, identity store.Identity, users ...store.User) bool {
	request, ok := connecthttp.ServerInfoForContext(ctx)
	if !ok || request.HTTPMethod() != http.MethodGet {
		return false
	}
	call, _ := connect.CallInfoForServerContext(ctx)
	tag := entityTag(identity, users)
	call.ResponseHeader().Set("Etag", tag)
	call.ResponseHeader().Set("Cache-Control", "private, no-cache")
	call.ResponseHeader().Add("Vary", "Accept-Encoding, Authorization")
	return matches(call.RequestHeader().Values("If-None-Match"), tag)
}

// entityTag is a weak validator (RFC 9110 section 8.8.3) made of versions. The
// URL says which users are asked for; a version of a user means one state for
// ever, within one incarnation of the store.
func entityTag(identity store.Identity, users []store.User) string {
	hash := fnv.New128a()
	fmt.Fprint(hash, identity.Incarnation)
	for _, user := range users {
		fmt.Fprintf(hash, " %s %d", user.ID, user.Version)
	}
	return `W/"` + hex.EncodeToString(hash.Sum(nil)) + `"`
}

// matches reports whether an If-None-Match names the tag, by the weak comparison
// of RFC 9110 section 8.8.3.2.
func matches(fields []string, tag string) bool {
	for _, field := range fields {
		for candidate := range strings.SplitSeq(field, ",") {
			candidate = strings.TrimSpace(candidate)
			if candidate == "*" || strings.TrimPrefix(candidate, "W/") == strings.TrimPrefix(tag, "W/") {
				return true
			}
		}
	}
	return false
}
