package store_test

import (
	"testing"

	"github.com/example/userd/store"
)

func TestFold(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct{ email, name string }{
		"":                        {"", ""},
		"ada@example.com":         {"ada@example.com", "ada@example.com"},
		"Ada.[ZZ]@Example.COM":    {"ada.[zz]@example.com", "ada.[zz]@example.com"},
		"Ärger@İstanbul.EXAMPLE":  {"Ärger@İstanbul.example", "arger@istanbul.example"},
		"Not\xff UTF-8 \xc4A":     {"not\xff utf-8 \xc4a", "not� utf-8 �a"},
		"@[`{ are no letters, ÉA": {"@[`{ are no letters, Éa", "@[`{ are no letters, ea"},
		"ΝΙΚΟΣ":                   {"ΝΙΚΟΣ", "νικοσ"},
		"Νίκος":                   {"Νίκος", "νικοσ"},
		"Nu\u0308n\u0303ez":       {"nu\u0308n\u0303ez", "nunez"},
		"Nüñez":                   {"nüñez", "nunez"},
		"STRASSE Straße":          {"strasse straße", "strasse strasse"},
		"Ёлка Ψ\u1F80":            {"Ёлка Ψ\u1F80", "елка ψαι"},
		"한국 कि":                   {"한국 कि", "한국 कि"},
	} {
		if got := store.FoldEmail(text); got != want.email {
			t.Errorf("email %q is folded to %q, want %q", text, got, want.email)
		}
		if got := store.FoldName(text); got != want.name {
			t.Errorf("name %q is folded to %q, want %q", text, got, want.name)
		}
	}
}
