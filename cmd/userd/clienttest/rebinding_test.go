package clienttest

import (
	"encoding/json"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/example/userd/cmd/userd/userdtest"
)

// TestReboundPageReadsNothing has a browser show a page of a host whose name points
// at userd by then. To the browser the page and userd have one origin, so that
// nothing but the name tells them apart.
func TestReboundPageReadsNothing(t *testing.T) {
	t.Parallel()
	server := userdtest.Start(t, "--pprof")
	service, admin := server.URL, strings.TrimSuffix(server.Metrics, "/metrics")
	paths := []string{
		service + "/user.v1.UserService/SearchUsers", service + "/readyz", service + "/console/",
		admin + "/metrics", admin + "/debug/pprof/", admin + "/livez",
	}
	local := visit(t, paths)
	for _, answer := range local {
		if answer.Status != http.StatusOK {
			t.Errorf("a page of this machine gets %d from %s: %s", answer.Status, answer.URL, answer.Body)
		}
	}
	for i, path := range paths {
		paths[i] = strings.Replace(path, "127.0.0.1", "evil.example", 1)
	}
	for _, answer := range visit(t, paths) {
		if answer.Status != http.StatusMisdirectedRequest || !strings.Contains(answer.Body, "--allowed-host") {
			t.Errorf("a page of evil.example reads %d from %s: %s", answer.Status, answer.URL, answer.Body)
		}
	}
}

// pageAnswer is what a page got to read.
type pageAnswer struct {
	URL    string `json:"url"`
	Status int    `json:"status"`
	Body   string `json:"body"`
}

// visit fetches URLs in a browser, each from a page of the same origin.
func visit(t *testing.T, urls []string) []pageAnswer {
	t.Helper()
	chromium := userdtest.Program(t, "chromium", "chromium-browser", "google-chrome")
	args := append([]string{module(t, "rebinding.mjs"), chromium}, urls...)
	out, err := exec.CommandContext(t.Context(), userdtest.Program(t, "node"), args...).Output()
	if err != nil {
		t.Fatalf("rebinding.mjs: %v: %s", err, out)
	}
	var answers []pageAnswer
	if err := json.Unmarshal(out, &answers); err != nil {
		t.Fatal(err)
	}
	return answers
}
