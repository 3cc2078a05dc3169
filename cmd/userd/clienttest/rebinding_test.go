package clienttest

import (
	"encoding/json"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/example/userd/cmd/userd/userdtest"
	userv1 "github.com/example/userd/gen/user/v1"
)

// TestReboundPageReadsNothing has a browser show a page of a host whose name points
// at userd by then. To the browser the page and userd have one origin, so that
// nothing but the name tells them apart.
func TestReboundPageReadsNothing(t *testing.T) {
	t.Parallel()
	server := userdtest.Start(t, "--pprof")
	service, admin := server.URL, strings.TrimSuffix(server.Metrics, "/metrics")
	paths := []string{
		service + "/user.v1.UserService/SearchUsers", service + "/console/", service + "/openapi.json",
		admin + "/metrics", admin + "/debug/pprof/",
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
	var answers []pageAnswer
	runPage(t, &answers, "rebinding.mjs", urls...)
	return answers
}

// runPage runs a script that has a browser show a page, and takes what it prints.
func runPage(t *testing.T, printed any, script string, args ...string) {
	t.Helper()
	chromium := userdtest.Program(t, "chromium", "chromium-browser", "google-chrome")
	args = append([]string{module(t, script), chromium}, args...)
	out, err := exec.CommandContext(t.Context(), userdtest.Program(t, "node"), args...).Output()
	if err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
	if err := json.Unmarshal(out, printed); err != nil {
		t.Fatal(err)
	}
}

// TestPageOfAnotherOriginReachesNothing has a browser show a page that tries whatever needs
// no permission of userd: it reads nothing and creates nobody. A page of userd itself does.
func TestPageOfAnotherOriginReachesNothing(t *testing.T) {
	t.Parallel()
	try := func(server *userdtest.Userd, page string) (read map[string]string) {
		runPage(t, &read, "otherorigin.mjs", page, server.URL, strings.TrimSuffix(server.Metrics, "/metrics"))
		return read
	}
	own := userdtest.Start(t)
	read := try(own, own.URL+"/livez")
	for what, want := range map[string]string{"a call": "call@example.com", "a GET": "{", "the readiness": "ok"} {
		if !strings.Contains(read[what], want) {
			t.Errorf("a page of userd reads %q of %s", read[what], what)
		}
	}
	server, pages := userdtest.Start(t), newPages(t)
	read = try(server, strings.Replace(pages.URL, "127.0.0.1", "evil.example", 1)+"/")
	for what, text := range read {
		if text != "" {
			t.Errorf("a page of another origin reads of %s: %s", what, text)
		}
	}
	var found userv1.SearchUsersResponse
	newScenario(t, newCurl(t, server.URL, "2")).call("SearchUsers", &userv1.SearchUsersRequest{}, &found)
	if len(read) == 0 || len(found.GetUsers()) > 0 {
		t.Errorf("a page of another origin tried %d ways, and has created %v", len(read), found.GetUsers())
	}
}
