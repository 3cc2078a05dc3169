package deploy_test

import (
	"os"
	"strings"
	"testing"

	"github.com/example/userd/cmd/userd/userdtest"
)

func TestMain(m *testing.M) { userdtest.Main(m) }

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// replaceOnce replaces texts that have to be there.
func replaceOnce(t *testing.T, text string, by map[string]string) string {
	t.Helper()
	for from, to := range by {
		if strings.Count(text, from) != 1 {
			t.Fatalf("there is not one %q in:\n%s", from, text)
		}
		text = strings.Replace(text, from, to, 1)
	}
	return text
}
