package store

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// FoldEmail returns an email as emails are compared and searched: ASCII letters in lower
// case, and nothing else, like lower() under PostgreSQL's collation "C" and SQLite's
// NOCASE.
func FoldEmail(email string) string {
	for i := range len(email) {
		if isUpper(email[i]) {
			return foldFrom(email, i)
		}
	}
	return email
}

func foldFrom(email string, first int) string {
	folded := []byte(email)
	for i := first; i < len(folded); i++ {
		if isUpper(folded[i]) {
			folded[i] += 'a' - 'A'
		}
	}
	return string(folded)
}

func isUpper(b byte) bool { return 'A' <= b && b <= 'Z' }

// The accents of Latin, Greek and Cyrillic letters. In other scripts, marks make another
// letter.
const firstAccent, lastAccent = '\u0300', '\u036F'

// Folding names the rule of FoldName. Under another one the same name may fold otherwise.
const Folding = "1 " + cases.UnicodeVersion + " " + norm.Version

// FoldName returns a display name as searches by a part of it see it: without regard to
// case, by Unicode's full case folding, which makes one of both forms of sigma, to how
// letters are composed, and to accents.
func FoldName(name string) string {
	if isASCII(name) {
		return strings.ToLower(name)
	}
	decomposed := norm.NFD.String(cases.Fold().String(norm.NFD.String(strings.ToValidUTF8(name, "\uFFFD"))))
	return norm.NFC.String(strings.Map(withoutAccents, decomposed))
}

func withoutAccents(r rune) rune {
	if firstAccent <= r && r <= lastAccent {
		return -1
	}
	return r
}

func isASCII(text string) bool {
	for i := range len(text) {
		if text[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
