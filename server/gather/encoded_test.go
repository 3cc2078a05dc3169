package gather

import (
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// asConnect is a message behind the prefix that Connect writes.
func asConnect(message string) string {
	return string([]byte{0, 0, 0, byte(len(message) >> 8), byte(len(message))}) + message
}

// appendText appends a message to what a stream gathers, which has to take most bytes for it,
// and reports whether it could.
func appendText(w *streamWriter, message string, most int) bool {
	size := w.appendMessage(most, func(b []byte) ([]byte, bool) { return append(b, message...), true })
	return size == len(message)
}

func TestEncodedMessagesAreGatheredWithOthers(t *testing.T) {
	t.Parallel()
	recorder := httptest.NewRecorder()
	w := newStreamWriter(recorder, sendTimeout)
	if appendText(w, "first", 5) {
		t.Error("the first message, before the header, is appended")
	}
	var want strings.Builder
	for i := range 1_000 {
		message := strings.Repeat(string(rune('a'+i%26)), i)
		want.WriteString(asConnect(message))
		if i == 0 || i%3 == 0 || !appendText(w, message, 2*i) {
			if _, err := w.Write([]byte(asConnect(message))); err != nil {
				t.Fatal(err)
			}
			w.Flush()
		}
	}
	w.finish()
	if recorder.Body.String() != want.String() {
		t.Error("what is sent is not what was written and appended, in this order")
	}
}

func TestMessagesThatDoNotFitAreNotAppended(t *testing.T) {
	t.Parallel()
	w := newFlushedWriter()
	stream := newStreamWriter(w, sendTimeout)
	if _, err := stream.Write([]byte("a")); err != nil {
		t.Fatal(err)
	}
	stream.Flush()
	for name, appended := range map[string]bool{
		"larger than a buffer":       appendText(stream, "b", flushBytes),
		"that turns out to be so":    appendText(stream, strings.Repeat("b", flushBytes), 1),
		"that ends in its beginning": stream.appendMessage(1, func(b []byte) ([]byte, bool) { return append(b, 'b'), false }) >= 0,
	} {
		if appended {
			t.Errorf("a message %s is appended", name)
		}
	}
	stream.finish()
	if !slices.Equal(w.sent, []string{"a"}) || w.pending != "" {
		t.Errorf("sent %q and %q, want the message before alone", w.sent, w.pending)
	}
}
