package console

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// maxFirstLoad is what a browser may have to load before it shows something, in bytes.
const maxFirstLoad = 150 << 10

// elsewhere is what is served where the console is not.
var elsewhere = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })

func ask(method, path string, header http.Header) *http.Response {
	r := httptest.NewRequest(method, path, nil)
	r.Header = header
	w := httptest.NewRecorder()
	Handler(time.Second)(elsewhere).ServeHTTP(w, r)
	return w.Result()
}

func TestBrowsersAreSentToTheConsole(t *testing.T) {
	t.Parallel()
	browser := http.Header{"Accept": {"text/html,application/xhtml+xml,*/*;q=0.8"}}
	for _, test := range []struct {
		method, path string
		header       http.Header
		want         int
	}{
		{http.MethodGet, "/", browser, http.StatusTemporaryRedirect},
		{http.MethodHead, "/", browser, http.StatusTemporaryRedirect},
		{http.MethodPost, "/", browser, http.StatusTeapot},
		{http.MethodGet, "/", http.Header{"Accept": {"*/*"}}, http.StatusTeapot},
		{http.MethodGet, "/console", nil, http.StatusTemporaryRedirect},
		{http.MethodGet, "/consoles", browser, http.StatusTeapot},
		{http.MethodGet, "/user.v1.UserService/GetUser", browser, http.StatusTeapot},
		{http.MethodGet, "/console/", nil, http.StatusOK},
		{http.MethodHead, "/console/", nil, http.StatusOK},
		{http.MethodGet, "/console/index.html", nil, http.StatusOK},
		{http.MethodPost, "/console/", nil, http.StatusMethodNotAllowed},
		{http.MethodGet, "/console/../console.go", nil, http.StatusNotFound},
		{http.MethodGet, "/console/assets/", nil, http.StatusNotFound},
	} {
		if got := ask(test.method, test.path, test.header); got.StatusCode != test.want {
			t.Errorf("%s %s with %v: %d, not %d", test.method, test.path, test.header, got.StatusCode, test.want)
		}
	}
}

func TestFilesAreGuarded(t *testing.T) {
	t.Parallel()
	for _, path := range []string{Path, Path + "missing"} {
		header := ask(http.MethodGet, path, nil).Header
		for name, want := range map[string]string{
			"X-Content-Type-Options":     "nosniff",
			"Referrer-Policy":            "no-referrer",
			"Cross-Origin-Opener-Policy": "same-origin",
		} {
			if got := header.Get(name); got != want {
				t.Errorf("%s: %s: %q, not %q", path, name, got, want)
			}
		}
		policy := header.Get("Content-Security-Policy")
		for _, directive := range []string{"default-src 'none'", "script-src 'self';", "frame-ancestors 'none'", "connect-src 'self'"} {
			if !strings.Contains(policy, directive) {
				t.Errorf("%s: the policy has no %s: %s", path, directive, policy)
			}
		}
		if strings.Contains(policy, "unsafe") {
			t.Errorf("%s: the policy allows inline code: %s", path, policy)
		}
	}
}

func TestFilesComeOnce(t *testing.T) {
	t.Parallel()
	for name, f := range files() {
		got := ask(http.MethodGet, Path+name, nil)
		body, err := io.ReadAll(got.Body)
		if err != nil || string(body) != string(f.Content) || got.Header.Get("Content-Type") == "" {
			t.Errorf("%s: %d bytes of %q, %v; not %d", name, len(body), got.Header.Get("Content-Type"), err, len(f.Content))
		}
		again := ask(http.MethodGet, Path+name, http.Header{"If-None-Match": {got.Header.Get("Etag")}})
		if again.StatusCode != http.StatusNotModified {
			t.Errorf("%s again: %d", name, again.StatusCode)
		}
		if cached := got.Header.Get("Cache-Control"); strings.HasPrefix(name, "assets/") != strings.Contains(cached, "immutable") {
			t.Errorf("%s: Cache-Control: %s", name, cached)
		}
	}
}

func TestFirstLoadIsSmall(t *testing.T) {
	t.Parallel()
	total := int64(0)
	index := string(files()[""].Content)
	for name := range files() {
		if name != "" && !strings.Contains(index, name) {
			continue
		}
		got := ask(http.MethodGet, Path+name, http.Header{"Accept-Encoding": {"gzip, deflate, br"}})
		if got.Header.Get("Content-Encoding") != "gzip" {
			t.Errorf("%s is not compressed", name)
		}
		total += got.ContentLength
	}
	t.Logf("%d bytes", total)
	if total == 0 || total > maxFirstLoad {
		t.Errorf("the first load has %d bytes, not at most %d", total, maxFirstLoad)
	}
}
