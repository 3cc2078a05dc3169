package main

import (
	"regexp"
	"slices"
	"strings"

	"google.golang.org/protobuf/compiler/protogen"
)

// paragraphs are those of a comment, each in one line.
func paragraphs(comments protogen.CommentSet) []string {
	var all []string
	for text := range strings.SplitSeq(strings.TrimSpace(string(comments.Leading)), "\n\n") {
		if text = strings.Join(strings.Fields(text), " "); text != "" {
			all = append(all, text)
		}
	}
	return all
}

// text is a comment, with lines only between its paragraphs.
func text(comments protogen.CommentSet) string { return strings.Join(paragraphs(comments), "\n\n") }

// summary is the first sentence of a comment about something, without its name: "Reads one
// user by id".
func summary(name string, comments protogen.CommentSet) string {
	sentence, _, _ := strings.Cut(strings.TrimPrefix(text(comments), name+" "), ". ")
	sentence = strings.TrimSuffix(sentence, ".")
	if sentence == "" {
		return name
	}
	return strings.ToUpper(sentence[:1]) + sentence[1:]
}

// named are codes and the reasons that a comment names with them:
// "NOT_FOUND (USER_NOT_FOUND)".
var named = regexp.MustCompile(`([A-Z_]+) \(([A-Z_]+(?:, [A-Z_]+)*)\)`)

// reasonsNamed are the reasons that the comment of an RPC names.
func reasonsNamed(comments protogen.CommentSet) []string {
	var reasons []string
	for _, found := range named.FindAllStringSubmatch(text(comments), -1) {
		reasons = append(reasons, strings.Split(found[2], ", ")...)
	}
	return reasons
}

// withoutReasons is the comment of an RPC without the paragraph of its reasons, which
// its answers have.
func withoutReasons(comments protogen.CommentSet) string {
	return strings.Join(slices.DeleteFunc(paragraphs(comments), func(text string) bool {
		return strings.TrimSpace(named.ReplaceAllString(text, "")) != text && strings.Trim(named.ReplaceAllString(text, ""), ",. ") == ""
	}), "\n\n")
}

// codeOf is the code in which the comment of a reason ends: "There is no user with this id.
// NOT_FOUND."
func codeOf(comments protogen.CommentSet) string {
	sentences := strings.Split(strings.TrimSuffix(text(comments), "."), ". ")
	return sentences[len(sentences)-1]
}
