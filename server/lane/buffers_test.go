package lane

import (
	"bytes"
	"testing"
)

// A short answer that waits does not keep the buffer of a long one.
func TestWaitingAnswersFitTheirBuffers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		room, length int
		moves        bool
	}{{1 << 20, 100, true}, {1 << 20, 400 << 10, true}, {1 << 20, 600 << 10, false}, {4 << 10, 10, false}} {
		content := bytes.Repeat([]byte("x"), test.length)
		body := bytes.NewBuffer(make([]byte, 0, test.room))
		body.Write(content)
		c := call{answer: answer{body: body}}
		if moved := c.fitBody(); moved != test.moves || !bytes.Equal(c.answer.body.Bytes(), content) {
			t.Errorf("%d bytes in a buffer of %d: moved is %t", test.length, test.room, moved)
		}
	}
}
