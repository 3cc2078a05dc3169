package users

import (
	"encoding/hex"
	"hash/fnv"
	"net/http"
	"strconv"
	"strings"

	"connectrpc.com/connect/v2"

	"github.com/example/userd/cache"
)

// isGet reports whether a call is a Connect GET.
func isGet(call *connect.CallInfo) bool {
	request, ok := call.TransportInfo.(interface{ HTTPMethod() string })
	return ok && request.HTTPMethod() == http.MethodGet
}

// notModified reports whether the caller of a Connect GET has these entries
// already, and gives the response what HTTP caches need.
func (u *Service) notModified(call *connect.CallInfo, ids []string, entries []cache.Entry) bool {
	tag := entityTag(u.Store.Identity().Incarnation, ids, entries)
	call.ResponseHeader().Set("Etag", tag)
	call.ResponseHeader().Set("Cache-Control", "private, no-cache")
	call.ResponseHeader().Add("Vary", "Accept-Encoding, Authorization")
	return matches(call.RequestHeader().Values("If-None-Match"), tag)
}

// entityTag is a weak validator (RFC 9110 section 8.8.3) made of versions: one of a
// user means one state for ever, within one incarnation of the store.
func entityTag(incarnation string, ids []string, entries []cache.Entry) string {
	state := []byte(incarnation)
	for i, entry := range entries {
		if entry.Found {
			state = append(append(append(state, ' '), ids[i]...), ' ')
			state = strconv.AppendInt(state, entry.Version, 10)
		}
	}
	hash := fnv.New128a()
	_, _ = hash.Write(state)
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
