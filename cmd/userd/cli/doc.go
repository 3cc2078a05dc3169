// Package cli is what the commands of userd have in common: how they end, and what they say
// to somebody who has mistyped a word.
//
//   - exit.go: the codes that commands end with. Each command says with its error which one.
//   - nearest.go: the word that was meant.
package cli
