package clienttest

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os/exec"
	"testing"
	"time"

	"github.com/example/userd/cmd/userd/userdtest"
)

var people = flag.Int("people", 20_000, "users who are searched at the console; a multiple of 2,000")

// TestConsoleSearch searches many users at the console. What an index finds takes one call;
// -v shows how long.
func TestConsoleSearch(t *testing.T) {
	t.Parallel()
	url := userdtest.Start(t).URL
	importPeople(t, url, *people)
	settings, err := json.Marshal(map[string]any{"url": url, "people": *people})
	if err != nil {
		t.Fatal(err)
	}
	chromium := userdtest.Program(t, "chromium", "chromium-browser", "google-chrome")
	person := start(t.Context(), userdtest.Program(t, "node"), module(t, "search.mjs"), chromium, string(settings))
	for lines := bufio.NewScanner(person.stdout); lines.Scan(); {
		t.Log(lines.Text(), "ms")
	}
	if err := person.wait(); err != nil {
		t.Error(err)
	}
}

// importPeople creates the users that search.mjs looks for.
func importPeople(t *testing.T, url string, count int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), userdtest.Binary(t), "import", "--server", url, "--format", "csv", "-")
	rows, csv := io.Pipe()
	cmd.Stdin = rows
	go func() {
		w := bufio.NewWriter(csv)
		fmt.Fprintln(w, "email,display_name,roles,disabled,created_at,attributes.plan,attributes.tenant")
		for i := range count {
			fmt.Fprintln(w, personRow(i, count))
		}
		csv.CloseWithError(w.Flush())
	}()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// names are those that users have in turn.
var names = [20]string{
	"Ada", "Alan", "Barbara", "Grace", "Edsger", "Frances", "Donald", "Radia", "Ken", "Margaret",
	"Dennis", "Hedy", "Linus", "Karen", "Niklaus", "Sophie", "Tony", "Jean", "Guido", "Annie",
}

// personRow is a row of a CSV.
func personRow(i, count int) string {
	name, role, plan := fmt.Sprint(names[i%len(names)], " Number ", i), "", "free"
	if i == count/2 {
		name = "Zebulon Quist"
	}
	if i%10 == 0 {
		role = "editor"
	}
	if i%20 == 0 {
		plan = "pro"
	}
	created := time.Date(2020, 1, 1, 0, 0, 10*i, 0, time.UTC).Format(time.RFC3339)
	return fmt.Sprintf("user%07d@people.example,%s,%s,%v,%s,%s,t%d", i, name, role, i%1000 == 3, created, plan, i%2000)
}
