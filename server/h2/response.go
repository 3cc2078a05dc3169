package h2

import (
	"bufio"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2/hpack"
)

// responseBuffer is how much of a response is gathered before it goes out, in bytes.
const responseBuffer = 4 << 10

var errTooMuchWritten = errors.New("http2: handler wrote more than declared Content-Length")

var buffers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, responseBuffer) }}

// responseWriter is the http.ResponseWriter of an exchange. It belongs to the
// handler, and does what net/http's does.
type responseWriter struct {
	x        *exchange
	buffer   *bufio.Writer // Before chunkWriter, or nil while it is empty.
	header   http.Header   // As the handler left it.
	snapshot http.Header   // As it was at WriteHeader.
	status   int           // 0 before WriteHeader.
	sent     bool          // The header was sent.
	finished bool          // The handler has returned.
	told     bool          // It was told that a part of the body was not sent.
	written  int64
	declared int64  // Content-Length that the handler set, or -1.
	trailers Fields // When the handler has returned.
}

func (w *responseWriter) Header() http.Header { return w.header }

func (w *responseWriter) WriteHeader(status int) {
	if status < 100 || status > 999 {
		panic(fmt.Sprintf("invalid WriteHeader code %v", status))
	}
	switch {
	case w.status != 0:
	case status < 200:
		w.sendInformational(status, w.header)
	default:
		w.status = status
		if len(w.header) > 0 {
			w.snapshot = w.header.Clone()
		}
	}
}

func (w *responseWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if !bodyAllowed(w.status) {
		return 0, http.ErrBodyNotAllowed
	}
	w.written += int64(len(p))
	if w.declared >= 0 && w.written > w.declared {
		return 0, errTooMuchWritten
	}
	if w.buffer == nil && len(p) >= responseBuffer {
		return (*chunkWriter)(w).Write(p)
	}
	if w.buffer == nil {
		w.buffer = buffers.Get().(*bufio.Writer)
		w.buffer.Reset((*chunkWriter)(w))
	}
	return w.buffer.Write(p)
}

// bodyAllowed reports whether a response of a status can have a body (RFC 9110
// section 6.4.1).
func bodyAllowed(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

func (w *responseWriter) Flush() { _ = w.FlushError() } // http.Flusher has no error.

func (w *responseWriter) FlushError() error {
	if buffer := w.buffer; buffer != nil {
		buffered := buffer.Buffered() > 0
		err := buffer.Flush()
		buffer.Reset(nil)
		buffers.Put(buffer)
		w.buffer = nil
		if buffered && (err == nil || !w.finished || !w.told) { // Else trailers may go out without the rest.
			return err
		}
	}
	if _, err := (*chunkWriter)(w).Write(nil); err != nil {
		return err
	}
	w.x.c.mu.Lock()
	defer w.x.c.mu.Unlock()
	return w.x.sendErr()
}

func (w *responseWriter) SetReadDeadline(deadline time.Time) error {
	return w.setDeadline(&w.x.readBy, deadline)
}

func (w *responseWriter) SetWriteDeadline(deadline time.Time) error {
	return w.setDeadline(&w.x.writeBy, deadline)
}

// setDeadline moves one of the deadlines of the stream. One that is still to come is met
// when the server looks at the connection next, at most maxTick later.
func (w *responseWriter) setDeadline(field *time.Time, deadline time.Time) error {
	c := w.x.c
	c.mu.Lock()
	*field = deadline
	w.x.checkDeadlines(time.Now())
	c.unlockAndFlush()
	return nil
}

// ResumeWrite lets a handler go on, without a deadline, after a Write or a Flush that has
// failed with [os.ErrDeadlineExceeded]. It reports whether the handler may: nothing of what
// that was to send has been sent.
func (w *responseWriter) ResumeWrite() bool {
	c := w.x.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.x.err != nil || w.x.late != nil && w.x.torn {
		return false
	}
	w.x.late, w.x.writeBy = nil, time.Time{}
	return true
}

// Fits reports whether so many bytes can be sent at once, without a wait for the peer to read.
func (w *responseWriter) Fits(bytes int) bool {
	c := w.x.c
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fits(w.x.stream, bytes)
}

// EnableFullDuplex does nothing: HTTP/2 always is.
func (w *responseWriter) EnableFullDuplex() error { return nil }

// finish sends what is left of the response, after the handler has returned.
func (w *responseWriter) finish() {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	w.finished, w.trailers = true, w.trailer()
	_ = w.FlushError() // The handler is not there any more to be told.
	w.x.endLate()
}

// chunkWriter takes what leaves the buffer of a responseWriter.
type chunkWriter responseWriter

func (cw *chunkWriter) Write(p []byte) (int, error) {
	w := (*responseWriter)(cw)
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	isHead := w.x.request.Method == http.MethodHead
	if !w.sent {
		w.sent = true
		end := isHead || w.finished && len(p) == 0 && w.trailers.empty()
		if err := w.sendHeader(p, end); err != nil || end {
			return len(p), err
		}
	}
	if isHead {
		return len(p), nil
	}
	return len(p), w.sendBody(p)
}

// sendHeader sends the header of the response, whose body starts with p.
func (w *responseWriter) sendHeader(p []byte, end bool) error {
	h := w.snapshot
	f := headerFields(w.status, h)
	if _, ok := h["Content-Type"]; !ok && len(p) > 0 && bodyAllowed(w.status) && h.Get("Content-Encoding") == "" {
		f.Add("content-type", http.DetectContentType(p))
	}
	if length := w.contentLength(p); length != "" {
		f.Add("content-length", length)
	}
	if _, ok := h["Date"]; !ok {
		f.Add("date", date())
	}
	if h.Get("Connection") == "close" {
		w.x.c.startDrain()
	}
	return w.send(func() error {
		w.x.begun = true
		return w.x.sendHeaders(f, end)
	}, end)
}

// contentLength is the length that the header declares, or "".
func (w *responseWriter) contentLength(p []byte) string {
	if value := w.snapshot.Get("Content-Length"); value != "" {
		if length, err := strconv.ParseUint(value, 10, 63); err == nil {
			w.declared = int64(length)
			return value
		}
	}
	if values, ok := w.snapshot["Content-Length"]; ok && len(values) == 0 {
		return "" // A key without values: there is to be none.
	}
	isHead := w.x.request.Method == http.MethodHead
	if w.finished && bodyAllowed(w.status) && (len(p) > 0 || !isHead) {
		return strconv.Itoa(len(p))
	}
	return ""
}

// sendBody sends a part of the body and, at its end, the trailers.
func (w *responseWriter) sendBody(p []byte) error {
	end := w.finished && w.trailers.empty()
	if len(p) > 0 || end {
		err := w.send(func() error { return w.x.send(p, end) }, end)
		w.told = w.told || err != nil && !w.finished
		if err != nil && (end || !w.finished || !w.told) {
			return err
		}
	}
	if !w.finished || end {
		return nil
	}
	return w.send(func() error { return w.x.sendHeaders(w.trailers, true) }, true)
}

// sendInformational sends a 1xx response, unless the response itself has begun: it would be
// taken for trailers.
func (w *responseWriter) sendInformational(status int, header http.Header) {
	_ = w.send(func() error {
		if w.x.begun {
			return nil
		}
		return w.x.sendHeaders(headerFields(status, header), false)
	}, false) // The response itself will fail, too.
}

// headerFields are the status and the header of a response, without its length.
func headerFields(status int, header http.Header) Fields {
	var f Fields
	f.More = make([]hpack.HeaderField, 0, len(header)+4)
	f.SetStatus(strconv.Itoa(status))
	for key, values := range header {
		if key != "Content-Length" {
			f.Add(key, values...)
		}
	}
	return f
}

// send sends a frame, and flushes unless the handler has returned: then the worker
// does, when it has let others append their answers.
func (w *responseWriter) send(frame func() error, end bool) error {
	c := w.x.c
	c.mu.Lock()
	defer c.mu.Unlock()
	err := frame()
	if err == nil && end {
		w.x.endLocal()
	}
	if !w.finished {
		c.flush()
	}
	return err
}

// trailer are the fields that the handler has announced, or named with
// http.TrailerPrefix, and set since.
func (w *responseWriter) trailer() (f Fields) {
	for key, values := range w.header {
		if name, ok := strings.CutPrefix(key, http.TrailerPrefix); ok {
			f.addTrailer(name, values)
		}
	}
	for _, announced := range w.snapshot["Trailer"] {
		for name := range strings.SplitSeq(announced, ",") {
			key := http.CanonicalHeaderKey(strings.TrimSpace(name))
			f.addTrailer(key, w.header[key])
		}
	}
	return f
}

// addTrailer adds a trailer, unless it is one that must not be one or is there already.
func (f *Fields) addTrailer(key string, values []string) {
	name := lowerName(key)
	again := slices.ContainsFunc(f.More, func(field hpack.HeaderField) bool { return field.Name == name })
	if !again && httpguts.ValidTrailerHeader(http.CanonicalHeaderKey(key)) {
		f.Add(name, values...)
	}
}
