package body

import (
	"bufio"
	"strings"
	"testing"
	"testing/iotest"
)

func TestMessageAtHand(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, body string
		message    string
		ok         bool
	}{
		{"whole", "\x00\x00\x00\x00\x02ab\x00", "ab", true},
		{"empty", "\x00\x00\x00\x00\x00", "", true},
		{"nothing", "", "", false},
		{"part of a prefix", "\x00\x00\x00", "", false},
		{"part of a message", "\x00\x00\x00\x00\x02a", "", false},
		{"longer than any", "\x00\xff\xff\xff\xffa", "", false},
		{"compressed", "\x01\x00\x00\x00\x01a", "", false},
	} {
		body := bufio.NewReader(iotest.DataErrReader(strings.NewReader(test.body)))
		_, _ = body.Peek(len(test.body)) // All of it comes.
		if message, ok := messageAtHand(body); string(message) != test.message || ok != test.ok {
			t.Errorf("%s: %q, %t, want %q, %t", test.name, message, ok, test.message, test.ok)
		}
		if body.Buffered() != len(test.body) {
			t.Errorf("%s: %d bytes are left, want all %d", test.name, body.Buffered(), len(test.body))
		}
	}
}
