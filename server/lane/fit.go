package lane

import (
	"slices"
	"strings"

	"golang.org/x/net/http2/hpack"
)

// The fields of gRPC that can be long, and the request id, which callers can do without.
const (
	detailsField   = "grpc-status-details-bin"
	messageField   = "grpc-message"
	requestIDField = "x-request-id"
)

// essential are the fields without which a caller could not read a response.
var essential = map[string]bool{
	":status": true, "content-type": true, "content-encoding": true, "grpc-encoding": true,
	"connect-content-encoding": true, "grpc-status": true, messageField: true,
}

// FitHeader is a header or trailer without what has to be left out of it to have at most
// size bytes, as HTTP/2 counts: first the details of an error, then the id of the request, then the
// end of its text, and then the largest of what handlers have set. See FitHeader of [h2.Config].
func FitHeader(fields []hpack.HeaderField, size int) []hpack.HeaderField {
	fitting := slices.Clone(fields)
	excess := -size
	for _, f := range fields {
		excess += int(f.Size())
	}
	leaveOut := func(i int) {
		excess -= int(fitting[i].Size())
		fitting = slices.Delete(fitting, i, i+1)
	}
	for _, name := range []string{detailsField, requestIDField} {
		if i := indexOf(fitting, name); i >= 0 && excess > 0 {
			leaveOut(i)
		}
	}
	if i := indexOf(fitting, messageField); i >= 0 && excess > 0 {
		before := fitting[i].Size()
		fitting[i].Value = cutMessage(fitting[i].Value, excess)
		excess -= int(before - fitting[i].Size())
	}
	for excess > 0 {
		i := largest(fitting)
		if i < 0 {
			break
		}
		leaveOut(i)
	}
	return fitting
}

func indexOf(fields []hpack.HeaderField, name string) int {
	return slices.IndexFunc(fields, func(f hpack.HeaderField) bool { return f.Name == name })
}

// largest is the index of the largest field that can be left out, or -1.
func largest(fields []hpack.HeaderField) int {
	found := -1
	for i, f := range fields {
		if !essential[f.Name] && (found < 0 || f.Size() > fields[found].Size()) {
			found = i
		}
	}
	return found
}

// cutMessage takes at least so many bytes from the end of a text as grpc-message has it,
// percent-encoded, and what is left there of a character.
func cutMessage(text string, excess int) string {
	text = text[:max(0, len(text)-excess)]
	if i := strings.LastIndexByte(text, '%'); i >= 0 && i > len(text)-3 {
		text = text[:i]
	}
	for n := len(text); n >= 3 && text[n-3] == '%' && text[n-2] >= '8'; n = len(text) { // Not ASCII.
		text = text[:n-3]
	}
	return text
}
