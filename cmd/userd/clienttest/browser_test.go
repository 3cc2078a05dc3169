package clienttest

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/example/userd/cmd/userd/userdtest"
	userv1 "github.com/example/userd/gen/user/v1"
)

// In the clear, browsers speak HTTP/1.1 only.
func TestBrowser(t *testing.T) {
	for _, library := range []string{"connect-web over gRPC-Web", "connect-web over Connect", "grpc-web-text"} {
		t.Run(library, func(t *testing.T) {
			t.Parallel()
			checkBrowser(t, library)
		})
	}
}

func TestBrowserOverTLS(t *testing.T) {
	t.Parallel()
	pair, _ := userdtest.Certificate(t)
	checkBrowser(t, "connect-web over gRPC-Web", "--tls-cert", pair, "--tls-key", pair)
}

func checkBrowser(t *testing.T, library string, flags ...string) {
	t.Helper()
	pages := newPages(t)
	url := userdtest.Start(t, append(flags, "--cors-origin", pages.URL)...).URL
	browser := startBrowser(t, pages, url, library)
	check(t, client{open: browser.open}, newCurl(t, url, "2"))
}

func TestBrowserRefusesOtherOrigins(t *testing.T) {
	t.Parallel()
	allowed, other := newPages(t), newPages(t)
	url := userdtest.Start(t, "--cors-origin", allowed.URL).URL
	for _, library := range []string{"connect-web over gRPC-Web", "connect-web over Connect", "grpc-web-text"} {
		browser := startBrowser(t, other, url, library)
		s := newScenario(t, client{open: browser.open})
		r := s.client.open(s.ctx, "CreateUser")
		s.send(r, createAda())
		r.close()
		if e := s.ended(r); e.Code == 0 {
			t.Errorf("%s: a page of another origin has created a user", library)
		}
		if console := browser.stop(); !strings.Contains(console, "blocked by CORS policy") {
			t.Errorf("%s: the browser says nothing of CORS: %s", library, console)
		}
	}
	var got userv1.GetUserByEmailResponse
	s := newScenario(t, newCurl(t, url, "2"))
	s.call("GetUserByEmail", &userv1.GetUserByEmailRequest{Email: createAda().GetEmail()}, &got)
	if got.User != nil {
		t.Error("a page of another origin has created a user")
	}
}

// startBrowser opens the page in a browser. The page makes its calls with one of
// the libraries of page.mjs.
func startBrowser(t *testing.T, pages *httptest.Server, url, library string) *driver {
	t.Helper()
	query := "?" + "library=" + strings.ReplaceAll(library, " ", "+") + "&url=" + url
	chromium := userdtest.Program(t, "chromium", "chromium-browser", "google-chrome")
	return startDriver(t, userdtest.Program(t, "node"), module(t, "browser.mjs"), chromium, pages.URL+"/page.html"+query)
}

// newPages serves the page, at an origin of its own.
func newPages(t *testing.T) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServer(http.Dir("testdata")))
	schema := userdtest.Descriptors(t)
	mux.HandleFunc("/descriptors", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, schema) })
	pages := httptest.NewServer(mux)
	t.Cleanup(pages.Close)
	return pages
}
