package sqlite

import (
	"slices"
	"testing"
)

func TestRolesAreReadAsTheyWereWritten(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		`[]`:                       nil,
		`["admin"]`:                {"admin"},
		`["admin","billing.read"]`: {"admin", "billing.read"},
		`["admin", "reader"]`:      {"admin", "reader"}, // Not by us.
		`["\u0061dmin"]`:           {"admin"},
		`["a,b","c"]`:              {"a,b", "c"},
	} {
		if got, err := decodeRoles(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s is read as %q, %v, want %q", text, got, err, want)
		}
	}
	for _, text := range []string{``, `"admin"`, `["admin"`, `["admin",1,"reader"]`, `["admin""reader"]`} {
		if got, err := decodeRoles(text); err == nil {
			t.Errorf("%s is read as %q", text, got)
		}
	}
}
