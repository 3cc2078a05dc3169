package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var shellBlock = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")

// readmes have the examples, in the order in which a reader meets them.
var readmes = []string{"../../README.md", "../../proto/README.md", "README.md"}

// failing are the examples that are meant to fail, and how.
var failing = map[string]string{
	"UserService/WatchUsers":                        "DeadlineExceeded",
	"StatusService/WatchStatus":                     "DeadlineExceeded",
	"localhost:8080 user.v1.UserService/DeleteUser": "USER_NOT_FOUND",
}

// TestREADMEExamplesWork runs the examples of the READMEs in order, as they stand,
// but for the port.
func TestREADMEExamplesWork(t *testing.T) {
	t.Parallel()
	p := startUserd(t, "--database", "sqlite:"+filepath.Join(t.TempDir(), "userd.db"))
	runREADME(t, p, readmes[0])
	for _, readme := range readmes { // The first minute can be repeated.
		if runREADME(t, p, readme) == 0 {
			t.Errorf("%s has no examples", readme)
		}
	}
}

// TestREADMEProtectsAServer runs what the README says of a server for other machines.
func TestREADMEProtectsAServer(t *testing.T) {
	t.Parallel()
	var blocks []string
	for _, script := range shellBlocks(t, readmes[0]) {
		if strings.Contains(script, "./userd ") {
			blocks = append(blocks, script)
		}
	}
	if len(blocks) != 2 {
		t.Fatalf("%q", blocks)
	}
	makeCertificate, rest, _ := strings.Cut(blocks[0], "\n")
	addToken, serve, _ := strings.Cut(rest, "\n")
	calls := blocks[1]

	folder := t.TempDir()
	if err := os.Symlink(userdPath(t), filepath.Join(folder, "userd")); err != nil {
		t.Fatal(err)
	}
	shell := func(line string, env ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), "bash", "-euc", line)
		cmd.Dir, cmd.Env = folder, append(os.Environ(), env...)
		out, err := cmd.CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	if out, err := shell(makeCertificate); err != nil {
		t.Fatal(err, out)
	}
	token, err := shell(addToken)
	if err != nil {
		t.Fatal(err, token)
	}
	args := strings.Fields(strings.ReplaceAll(serve, "0.0.0.0:8080", "127.0.0.1:0"))
	cmd := exec.Command(args[0], append(args[1:], "--admin-listen", "127.0.0.1:0")...)
	cmd.Dir = folder
	p := start(t, os.Stderr, cmd)

	address := "localhost" + p.url[strings.LastIndex(p.url, ":"):]
	calls = strings.ReplaceAll(calls, "localhost:8080", address)
	if out, err := shell(calls, "USERD_TOKEN="+token); err != nil || !strings.HasSuffix(out, "{}") {
		t.Errorf("%s\n%v: %s", calls, err, out)
	}
	if out, err := shell("./userd list --tls-ca cert.pem --server https://" + address); err == nil || !strings.Contains(out, "give a token") {
		t.Errorf("without a token: %v: %s", err, out)
	}
	if out, err := shell("./userd list --server https://" + address); err == nil || !strings.Contains(out, "--tls-ca") {
		t.Errorf("without --tls-ca: %v: %s", err, out)
	}
}

// runREADME runs the commands of a README that talk to a server, and returns how many blocks of
// them there are.
func runREADME(t *testing.T, p *process, readme string) (examples int) {
	t.Helper()
	for _, script := range shellBlocks(t, readme) {
		if strings.Contains(script, " localhost:8080") || strings.Contains(script, "http://localhost:8080") || strings.HasPrefix(script, "go run ./cmd/userd get") {
			examples++
			command := strings.ReplaceAll(script, "localhost:8080", strings.TrimPrefix(p.url, "http://"))
			runExample(t, script, "export USERD_SERVER="+p.url+"\n"+strings.ReplaceAll(command, "go run ./cmd/userd", userdPath(t)))
		}
	}
	return examples
}

// shellBlocks are the shell commands of a README, block by block.
func shellBlocks(t *testing.T, readme string) []string {
	t.Helper()
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, block := range shellBlock.FindAllStringSubmatch(string(text), -1) {
		blocks = append(blocks, block[1])
	}
	return blocks
}

var link = regexp.MustCompile(`\]\(([^)#]+)[^)]*\)`)

// TestLinksBetweenFilesHold follows the links from one file of the project to another.
func TestLinksBetweenFilesHold(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, readmes[1:]...) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, target := range link.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(target[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), target[1])); err != nil {
				t.Errorf("%s has a link to %s, which is not there", file, target[1])
			}
		}
	}
}

func runExample(t *testing.T, script, command string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", command)
	cmd.Env = append(os.Environ(), "PATH="+toolsPath(t)+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	for example, failure := range failing {
		if strings.Contains(script, example) {
			if err == nil || !strings.Contains(string(out), failure) {
				t.Errorf("%s\nmust fail with %s, but: %v\n%s", script, failure, err, out)
			}
			return
		}
	}
	if err != nil || strings.Contains(string(out), `"code":`) {
		t.Errorf("%s\nfails: %v\n%s", script, err, out)
	}
}

// toolsPath is where .ci/install puts programs.
func toolsPath(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../../.tools/bin")
	if err != nil {
		t.Fatal(err)
	}
	return path
}
