package server

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/example/userd/server/edge"
	"github.com/example/userd/store/guard"
	"github.com/example/userd/store/storetest/transcript"
)

// A panic outside of a call over HTTP/1.1, on either listener, is a line that people look at,
// and an answer.
func TestPanicsOutsideOfCalls(t *testing.T) {
	t.Parallel()
	log := new(transcript.Log)
	s := &Server{config: Config{Logger: log.Logger()}}
	g := s.boundedServer(edge.AbortBegun(s.config.Logger)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Content-Length", "100")
		switch r.URL.Path {
		case "/begun":
			_, _ = w.Write(make([]byte, 50))
			_ = http.NewResponseController(w).Flush()
		case "/aborted":
			panic(http.ErrAbortHandler)
		}
		panic("nobody expected this")
	})))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- g.Serve(listener) }()
	t.Cleanup(func() {
		_ = g.Close()
		<-served
	})
	url, before := "http://"+listener.Addr().String(), guard.Panics()
	for name, test := range map[string]struct {
		method, path, contentType string
		answer                    string
		logged                    bool
	}{
		"a call":                       {http.MethodPost, "/a", "application/json", `"code":"internal"`, true},
		"no call":                      {http.MethodGet, "/a", "", "internal error", true},
		"with an answer that is begun": {http.MethodGet, "/begun", "", "", true},
		"that is meant":                {http.MethodGet, "/aborted", "", "", false},
	} {
		known := len(log.String())
		req, err := http.NewRequestWithContext(t.Context(), test.method, url+test.path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", test.contentType)
		res, err := http.DefaultClient.Do(req)
		var body []byte
		if err == nil {
			body, err = io.ReadAll(res.Body)
			res.Body.Close()
		}
		switch {
		case test.answer == "" && err == nil:
			t.Errorf("%s: the answer is whole: %s", name, body)
		case test.answer != "" && (err != nil || res.StatusCode != http.StatusInternalServerError || !strings.Contains(string(body), test.answer)):
			t.Errorf("%s: %v, %+v: %q", name, err, res, body)
		}
		said := log.String()[known:]
		if logged := strings.Contains(said, "level=ERROR") && strings.Contains(said, "nobody expected this") && strings.Contains(said, "panics_internal_test.go"); logged != test.logged {
			t.Errorf("%s: the log says %q", name, said)
		}
	}
	if counted := guard.Panics() - before; counted < 3 {
		t.Errorf("%d panics are counted", counted)
	}
}
