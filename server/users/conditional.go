package users

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"

	"connectrpc.com/connect/v2"

	"github.com/example/userd/cache"
	"github.com/example/userd/server/etag"
)

// isGet reports whether a call is a Connect GET.
func isGet(call *connect.CallInfo) bool {
	request, ok := call.TransportInfo.(interface{ HTTPMethod() string })
	return ok && request.HTTPMethod() == http.MethodGet
}

// Values that all responses share: appending to them copies them.
var (
	cacheControl = []string{"private, no-cache"}[:1:1]
	vary         = []string{"Accept-Encoding, Authorization"}[:1:1]
)

// notModified reports whether the caller of a Connect GET has these entries
// already, and gives the response what HTTP caches need.
func (u *Service) notModified(call *connect.CallInfo, ids []string, entries []cache.Entry) bool {
	tag := entityTag(u.Store.Identity().Incarnation, ids, entries)
	header := call.ResponseHeader()
	header.Set("Etag", tag)
	header.SetValues("Cache-Control", cacheControl)
	header.SetValues("Vary", vary)
	return etag.Matches(call.RequestHeader().Values("If-None-Match"), tag)
}

// entityTag is a weak validator (RFC 9110 section 8.8.3) made of versions: one of a
// user means one state for ever, within one incarnation of the store.
func entityTag(incarnation string, ids []string, entries []cache.Entry) string {
	var room [128]byte // For one user.
	state := append(room[:0], incarnation...)
	for i, entry := range entries {
		if entry.Found {
			state = append(append(append(state, ' '), ids[i]...), ' ')
			state = strconv.AppendInt(state, entry.Version, 10)
		}
	}
	sum := sha256.Sum256(state)
	tag := append(room[:0], `W/"`...)
	tag = hex.AppendEncode(tag, sum[:tagBytes])
	return string(append(tag, '"'))
}

// tagBytes is how much of a hash is a tag.
const tagBytes = 16
