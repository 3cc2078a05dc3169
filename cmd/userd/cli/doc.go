// Package cli is what the commands of userd have in common: how they end, and what they say
// to somebody who has mistyped a word.
package cli
