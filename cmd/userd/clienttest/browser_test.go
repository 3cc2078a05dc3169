package clienttest

import (
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
	certificate, key := newCertificate(t)
	checkBrowser(t, "connect-web over gRPC-Web", "--tls-cert", certificate, "--tls-key", key)
}

func checkBrowser(t *testing.T, library string, flags ...string) {
	t.Helper()
	pages := newPages(t)
	url := startUserd(t, append(flags, "--cors-origin", pages.URL)...)
	browser := startBrowser(t, pages, url, library)
	check(t, client{open: browser.open}, url)
}

// newCertificate puts the certificate of package httptest into files.
func newCertificate(t *testing.T) (certificate, key string) {
	t.Helper()
	certified := httptest.NewTLSServer(nil)
	defer certified.Close()
	pair := certified.TLS.Certificates[0]
	encodedKey, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	certificate, key = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	for path, block := range map[string]*pem.Block{
		certificate: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]},
		key:         {Type: "PRIVATE KEY", Bytes: encodedKey},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certificate, key
}

func TestBrowserRefusesOtherOrigins(t *testing.T) {
	t.Parallel()
	allowed, other := newPages(t), newPages(t)
	url := startUserd(t, "--cors-origin", allowed.URL)
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
	chromium := program(t, "chromium", "chromium-browser", "google-chrome")
	return startDriver(t, program(t, "node"), module(t, "browser.mjs"), chromium, pages.URL+"/page.html"+query)
}

// newPages serves the page, at an origin of its own.
func newPages(t *testing.T) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServer(http.Dir("testdata")))
	schema := descriptors(t)
	mux.HandleFunc("/descriptors", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(schema) })
	pages := httptest.NewServer(mux)
	t.Cleanup(pages.Close)
	return pages
}
