// Package etag compares entity tags (RFC 9110 section 8.8.3).
package etag

import "strings"

// Matches reports whether the lines of an If-None-Match name a tag, by the weak comparison, as
// section 13.1.2 has it. What is behind something that is no tag is not looked at.
func Matches(lines []string, tag string) bool {
	opaque := strings.TrimPrefix(tag, "W/")
	for _, line := range lines {
		if strings.Trim(line, " \t") == "*" {
			return true
		}
		for rest := line; ; {
			rest = strings.TrimPrefix(strings.TrimLeft(rest, ", \t"), "W/")
			text, quoted := strings.CutPrefix(rest, `"`)
			text, after, ended := strings.Cut(text, `"`) // A tag may have commas in it.
			if !quoted || !ended {
				break
			}
			if len(text)+2 == len(opaque) && text == opaque[1:len(opaque)-1] {
				return true
			}
			rest = after
		}
	}
	return false
}
