package postgres

import (
	"slices"
	"strings"
	"testing"
)

// Who has a text in the name has all its parts, which the index reads sooner than all trigrams.
func TestPartsOfNames(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"":                         nil,
		"ab":                       nil,
		"日本":                       nil,
		"日本語":                      {"日本語"},
		"ada":                      {"ada"},
		"adal":                     {"ada", "dal"},
		"waha netarida":            {"wah", "aha", "net", "ari", "ida"},
		"jo mary":                  {"jo ", "mar", "ary"},
		"mary jo":                  {"mar", "ary", " jo"},
		"j. r. tolkien":            {" r.", "tol", "kie", "ien"},
		"mary müller":              {"mary müller"},
		"a%b_c":                    {"a%b_c"},
		"..a...":                   {"..a..."},
		"abcdefghijklmnopqrst":     {"ghi", "jkl", "mno", "pqr", "rst"},
		strings.Repeat("x y ", 40): {" y ", " x "},
	} {
		got := partsOf(text)
		if !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
		for _, part := range got {
			if !strings.Contains(text, part) {
				t.Errorf("%q has not %q", text, part)
			}
		}
	}
}
