package cli

import "github.com/spf13/cobra"

// mistakes are the letters that may be wrong in a word that is still known for another.
const mistakes = 2

// Nearest is the word that somebody may have meant, or "".
func Nearest(typed string, words []string) string {
	// Cobra compares commands with what was typed, and nothing but commands.
	var list cobra.Command
	list.SuggestionsMinimumDistance = mistakes
	for _, word := range words {
		list.AddCommand(&cobra.Command{Use: word, Run: func(*cobra.Command, []string) {}})
	}
	if near := list.SuggestionsFor(typed); len(near) > 0 {
		return near[0]
	}
	return ""
}
