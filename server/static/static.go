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
	if r.Header.Get("If-None-Match") == f.etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	body := f.Content
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		body = f.packed
		header.Set("Content-Encoding", "gzip")
	}
	header.Set("Content-Type", f.contentType)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method == http.MethodGet {
		_, _ = w.Write(body) // Who is gone does not read it.
	}
}
