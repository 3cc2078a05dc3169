package lane

import (
	"encoding/base64"
	"net/url"
	"strings"
)

// query is what the query of a Connect GET says.
type query struct {
	form
	message            string
	hasMessage, base64 bool
}

// form is how the message of a query is written, but for base64.
type form struct{ encoding, compression string }

// parseQuery returns false for what connecthttp has to look at: a query that says anything
// else, anything twice or nothing of what it names, and one that is broken.
func parseQuery(raw string) (q query, ok bool) {
	var connect, base64 string
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		name, value, _ := strings.Cut(pair, "=")
		var into *string
		switch name {
		case "message":
			into = &q.message
		case "encoding":
			into = &q.encoding
		case "compression":
			into = &q.compression
		case "connect":
			into = &connect
		case "base64":
			into = &base64
		default:
			return q, false
		}
		given := *into != "" || name == "message" && q.hasMessage
		unescaped, err := unescape(value)
		if err != nil || given || value == "" && name != "message" || strings.Contains(value, ";") {
			return q, false
		}
		*into, q.hasMessage = unescaped, q.hasMessage || name == "message"
	}
	q.base64 = base64 == "1"
	return q, q.hasMessage && (connect == "v1" || connect == "")
}

// unescape is url.QueryUnescape, but does not look at each byte of a value that has no escapes.
func unescape(value string) (string, error) {
	if strings.IndexByte(value, '%') < 0 && strings.IndexByte(value, '+') < 0 {
		return value, nil
	}
	return url.QueryUnescape(value)
}

// decoded is the message itself.
func (q *query) decoded() ([]byte, bool) {
	if !q.base64 {
		return []byte(q.message), true
	}
	message, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(q.message, "="))
	return message, err == nil
}
