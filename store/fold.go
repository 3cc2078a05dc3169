package store

import "strings"

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

// FoldName returns a display name as searches by a part of it see it: in lower case by
// the rules of Unicode, whatever the language.
func FoldName(name string) string { return strings.ToLower(name) }
