package lane

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/net/http2/hpack"
)

func pairs(namesAndValues ...string) (fields []hpack.HeaderField) {
	for i := 0; i < len(namesAndValues); i += 2 {
		fields = append(fields, hpack.HeaderField{Name: namesAndValues[i], Value: namesAndValues[i+1]})
	}
	return fields
}

// What can be done without is left out in this order, and no more of it than must be.
func TestFitHeader(t *testing.T) {
	t.Parallel()
	details, message := strings.Repeat("d", 1000), strings.Repeat("m", 500)
	for _, test := range []struct {
		name         string
		size         int
		fields, want []hpack.HeaderField
	}{
		{
			"all fits", 10_000,
			pairs("grpc-status", "3", "grpc-message", message, "grpc-status-details-bin", details),
			pairs("grpc-status", "3", "grpc-message", message, "grpc-status-details-bin", details),
		},
		{
			"without details", 1000,
			pairs("grpc-status", "3", "grpc-message", message, "grpc-status-details-bin", details, "x-note", "short"),
			pairs("grpc-status", "3", "grpc-message", message, "x-note", "short"),
		},
		{
			"with a part of the text", 44 + 44 + 10, // Names, values and 32 for each field.
			pairs("grpc-status", "3", "grpc-message", message, "grpc-status-details-bin", details),
			pairs("grpc-status", "3", "grpc-message", message[:10]),
		},
		{
			"without the largest field", 200,
			pairs("grpc-status", "0", "x-large", strings.Repeat("x", 200), "etag", "1"),
			pairs("grpc-status", "0", "etag", "1"),
		},
		{
			"what a caller needs", 1,
			pairs(":status", "200", "content-type", "application/grpc", "grpc-encoding", "gzip", "grpc-status", "5", "etag", "1"),
			pairs(":status", "200", "content-type", "application/grpc", "grpc-encoding", "gzip", "grpc-status", "5"),
		},
	} {
		before := slices.Clone(test.fields)
		if got := FitHeader(test.fields, test.size); !slices.Equal(got, test.want) {
			t.Errorf("%s: fields are %v, want %v", test.name, got, test.want)
		}
		if !slices.Equal(test.fields, before) {
			t.Errorf("%s: the fields themselves were changed", test.name)
		}
	}
}

// A text is cut between characters, however it is encoded.
func TestTextIsCutBetweenCharacters(t *testing.T) {
	t.Parallel()
	const encoded = "a%25b%C3%A9c%F0%9F%98%80d"
	for excess := range len(encoded) + 1 {
		cut := cutMessage(encoded, excess)
		text, err := url.PathUnescape(cut)
		if err != nil || !utf8.ValidString(text) || len(cut) > len(encoded)-excess || !strings.HasPrefix(encoded, cut) {
			t.Errorf("%d bytes less are %q, error %v", excess, cut, err)
		}
	}
}
