// Package static serves files that are in the program and never change while it runs. They
// tell nothing of users.
package static

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"

	"github.com/example/userd/server/etag"
)

// File is a file in the program.
type File struct {
	Content      []byte
	CacheControl string

	contentType string
	etag        string
	packed      []byte
}

// NewFile returns a file that browsers ask for again each time, and get again when it has
// changed.
func NewFile(contentType string, content []byte) *File {
	sum := sha256.Sum256(content)
	f := &File{
		Content:      content,
		CacheControl: "no-cache",
		contentType:  contentType,
		etag:         `W/"` + hex.EncodeToString(sum[:8]) + `"`,
	}
	var packed bytes.Buffer
	w, _ := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	_, _ = w.Write(content) // A buffer takes all.
	_ = w.Close()
	f.packed = packed.Bytes()
	return f
}

// Serve answers a request with the file, or says that there is none where f is nil.
func (f *File) Serve(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("X-Content-Type-Options", "nosniff")
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		header.Set("Allow", "GET, HEAD")
		http.Error(w, "this is to be read only", http.StatusMethodNotAllowed)
		return
	case f == nil:
		http.Error(w, "there is no such file", http.StatusNotFound)
		return
	}
	header.Set("Cache-Control", f.CacheControl)
	header.Set("Etag", f.etag)
	header.Set("Vary", "Accept-Encoding")
	if etag.Matches(r.Header["If-None-Match"], f.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	body := f.Content
	if takesGzip(r.Header["Accept-Encoding"]) {
		body = f.packed
		header.Set("Content-Encoding", "gzip")
	}
	header.Set("Content-Type", f.contentType)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method == http.MethodGet {
		_, _ = w.Write(body) // Who is gone does not read it.
	}
}

// takesGzip reports whether whoever has sent these lines of Accept-Encoding would rather have
// a file packed than as it is. Where they take neither, they get it as it is.
func takesGzip(lines []string) bool {
	const unsaid = -1
	gzip, identity, others := float64(unsaid), float64(unsaid), float64(unsaid)
	for coding := range strings.SplitSeq(strings.ToLower(strings.Join(lines, ",")), ",") {
		name, weight, _ := strings.Cut(coding, ";")
		switch strings.TrimSpace(name) {
		case "gzip", "x-gzip":
			gzip = weightOf(weight)
		case "identity":
			identity = weightOf(weight)
		case "*":
			others = weightOf(weight)
		}
	}
	if gzip == unsaid {
		gzip = others
	}
	return gzip > 0 && gzip >= identity || gzip == unsaid && identity == 0
}

// weightOf is the weight that a parameter gives a coding, which is 1 where there is none.
func weightOf(parameter string) float64 {
	text, given := strings.CutPrefix(strings.TrimSpace(parameter), "q=")
	if !given {
		return 1
	}
	weight, _ := strconv.ParseFloat(text, 64) // What is none is 0.
	return weight
}
