package static

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A file is packed for those who take it so, as RFC 9110 section 12.5.3 has it.
func TestFilesArePackedForThoseWhoTakeThemSo(t *testing.T) {
	t.Parallel()
	f := NewFile("text/plain", []byte("text"))
	for accepts, want := range map[string]string{
		"-":                            "", // Nothing is said.
		"":                             "",
		"gzip":                         "gzip",
		"GZIP":                         "gzip",
		"x-gzip":                       "gzip",
		"br, gzip;q=0.5":               "gzip",
		"deflate,gzip ; q=1.0":         "gzip",
		"*":                            "gzip",
		"*;q=0.1":                      "gzip",
		"identity;q=0":                 "gzip",
		"identity;q=0.5, gzip;q=0.6":   "gzip",
		"identity;q=0, *;q=0.5":        "gzip",
		"gzip;q=0":                     "",
		"gzip;q=0.0, *":                "",
		"gzip ;Q=0.000":                "",
		"*;q=0":                        "",
		"br":                           "",
		"notgzip":                      "",
		"identity, gzip;q=0.5":         "",
		"*;q=0, identity":              "",
		"gzip;q=none":                  "",
		"gzip;q=0, identity;q=0":       "", // Better than nothing.
		"gzip;q=0, br;q=1, deflate":    "",
		"deflate;q=0, gzip;q=0.001":    "gzip",
		"identity;q=0.5,*;q=0.4,br":    "",
		"zstd, br, gzip, deflate, foo": "gzip",
	} {
		request := httptest.NewRequest(http.MethodGet, "/", nil)
		if accepts != "-" {
			request.Header.Set("Accept-Encoding", accepts)
		}
		response := httptest.NewRecorder()
		f.Serve(response, request)
		if got := response.Header().Get("Content-Encoding"); got != want || response.Code != http.StatusOK {
			t.Errorf("%q gets %d with %q, want %q", accepts, response.Code, got, want)
		}
	}
	several := httptest.NewRequest(http.MethodGet, "/", nil)
	several.Header["Accept-Encoding"] = []string{"br", "gzip"}
	response := httptest.NewRecorder()
	if f.Serve(response, several); response.Header().Get("Content-Encoding") != "gzip" {
		t.Errorf("of several lines the second is not read: %v", response.Header())
	}
}

// Whoever has a file as it is now is not sent it again, however its tag came to be among others, as
// of caches, or without its mark of a weak one, as behind proxies.
func TestFilesThatAreThereAreNotSentAgain(t *testing.T) {
	t.Parallel()
	f := NewFile("text/plain", []byte("text"))
	tag := f.etag
	for _, test := range []struct {
		lines  []string
		status int
	}{
		{[]string{tag}, http.StatusNotModified},
		{[]string{strings.TrimPrefix(tag, "W/")}, http.StatusNotModified},
		{[]string{`"other", ` + tag}, http.StatusNotModified},
		{[]string{`"other"`, tag}, http.StatusNotModified},
		{[]string{"*"}, http.StatusNotModified},
		{[]string{`"other"`}, http.StatusOK},
	} {
		request := httptest.NewRequest(http.MethodGet, "/", nil)
		request.Header["If-None-Match"] = test.lines
		response := httptest.NewRecorder()
		f.Serve(response, request)
		if response.Code != test.status || response.Header().Get("Etag") != tag {
			t.Errorf("%q gets %d with %v, want %d", test.lines, response.Code, response.Header(), test.status)
		}
	}
}
