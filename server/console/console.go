package console

import (
	"embed"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/example/userd/server/static"
)

// Path is where the page is.
const Path = "/console/"

//go:embed dist
var dist embed.FS

// policy has the page load and run nothing but its own files, call nothing but its own
// server, and be shown in no other page.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// contentTypes are those of the page's files; those of package mime depend on the machine.
var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
	".md":   "text/markdown; charset=utf-8",
}

// Handler serves the page to browsers, and leaves other requests to next. A file may take
// as long as the timeout to be sent.
func Handler(timeout time.Duration) func(next http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			name, ours := strings.CutPrefix(r.URL.Path, Path)
			switch {
			case ours:
				// A connection without deadlines is closed by its server instead.
				_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(timeout))
				serve(w, r, files()[name])
			case leadsHere(r):
				redirect(w)
			default:
				next.ServeHTTP(w, r)
			}
		})
	}
}

// leadsHere reports whether a request is of a browser that looks for a page.
func leadsHere(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	return r.URL.Path == strings.TrimSuffix(Path, "/") ||
		r.URL.Path == "/" && strings.Contains(r.Header.Get("Accept"), "text/html")
}

func redirect(w http.ResponseWriter) {
	w.Header().Set("Location", Path)
	w.Header().Set("Vary", "Accept")
	w.WriteHeader(http.StatusTemporaryRedirect)
}

// files are those of the page, by name; "" is the page itself. Most servers are never asked
// for them.
var files = sync.OnceValue(func() map[string]*static.File {
	files := map[string]*static.File{}
	err := fs.WalkDir(dist, "dist", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := dist.ReadFile(name)
		files[strings.TrimPrefix(name, "dist/")] = newFile(name, content)
		return err
	})
	if err != nil {
		panic(err) // The files are in the program.
	}
	files[""] = files["index.html"]
	return files
})

func newFile(name string, content []byte) *static.File {
	f := static.NewFile(contentTypes[path.Ext(name)], content)
	if strings.Contains(name, "/assets/") { // Their names change with their content.
		f.CacheControl = "public, max-age=31536000, immutable"
	}
	return f
}

func serve(w http.ResponseWriter, r *http.Request, f *static.File) {
	header := w.Header()
	header.Set("Content-Security-Policy", policy)
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	f.Serve(w, r)
}
