package examples

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/example/userd/cmd/userd/userdtest"
)

// TestREADME runs the clients of gen/README.md as they stand, but for the port, and some with
// what buf generates as it says.
func TestREADME(t *testing.T) {
	t.Parallel()
	server := userdtest.Start(t)
	folder := t.TempDir()
	for name, language := range map[string]string{"main.go": "go", "clients.yaml": "yaml", "client.py": "python", "Client.java": "java"} {
		code := strings.ReplaceAll(block(t, language), "localhost:8080", server.Host())
		write(t, filepath.Join(folder, name), code)
	}
	checkClient(t, exec.CommandContext(t.Context(), "go", "run", filepath.Join(folder, "main.go")))

	generate(t, folder)
	for _, imported := range []string{"typescript/buf/validate/validate_pb.ts", "csharp/Validate.cs"} {
		if _, err := os.Stat(filepath.Join(folder, "clients", imported)); err != nil {
			t.Error(err)
		}
	}
	python := exec.CommandContext(t.Context(), userdtest.Program(t, "/usr/bin/python3"), filepath.Join(folder, "client.py"))
	python.Env = append(os.Environ(), "PYTHONPATH="+filepath.Join(folder, "clients/python"))
	checkClient(t, python)
	protect(t, folder)
	again := exec.CommandContext(t.Context(), python.Path, python.Args[1:]...)
	again.Env = python.Env
	checkClient(t, again)

	classes := filepath.Join(folder, "classes")
	path := "/usr/share/java/*:" + classes
	output(t, exec.CommandContext(t.Context(), userdtest.Program(t, "javac"), "-nowarn", "-cp", path, "-d", classes,
		"-sourcepath", filepath.Join(folder, "clients/java"), filepath.Join(folder, "Client.java")))
	checkClient(t, exec.CommandContext(t.Context(), userdtest.Program(t, "java"), "-cp", path, "Client"))
}

// TestREADMEInCSharp runs the client of gen/README.md for C#, with Mono, also at a server that knows
// its callers.
func TestREADMEInCSharp(t *testing.T) {
	t.Parallel()
	callers := filepath.Join(t.TempDir(), "auth")
	token := newToken(t, callers, "users.read,users.list,users.write")
	const setting = "Timeout = TimeSpan.FromSeconds(10),"
	header := setting + ` DefaultRequestHeaders = { Authorization = new AuthenticationHeaderValue("Bearer", "` + token + `") },`
	for _, test := range []struct {
		flags []string
		with  string
	}{
		{nil, setting},
		{[]string{"--auth-file", callers}, header},
	} {
		server := userdtest.Start(t, test.flags...)
		folder := t.TempDir()
		source, program := filepath.Join(folder, "client.cs"), filepath.Join(folder, "client.exe")
		write(t, source, strings.NewReplacer("localhost:8080", server.Host(), setting, test.with).Replace(block(t, "csharp")))
		output(t, exec.CommandContext(t.Context(), userdtest.Program(t, "mcs"), "-warnaserror", "-nowarn:649",
			"-r:System.Net.Http", "-r:System.Runtime.Serialization", "-out:"+program, source))
		got := checkClient(t, exec.CommandContext(t.Context(), userdtest.Program(t, "mono"), program))
		if !strings.HasSuffix(got, "\nAnders\nEMAIL_TAKEN: email: another user has this address\n") {
			t.Errorf("it says %s", got)
		}
	}
}

// protect has the client for Python call a server that knows its callers, as gen/README.md tells.
func protect(t *testing.T, folder string) {
	t.Helper()
	server, token, ca := startProtected(t, "users.write")
	code := block(t, "python")
	for from, to := range map[string]string{
		`grpc.insecure_channel("localhost:8080")`: fmt.Sprintf(`grpc.secure_channel(%q, grpc.ssl_channel_credentials(open(%q, "rb").read()))`, server.Host(), ca),
		`display_name="Guido")`:                   `display_name="Guido"), metadata=[("authorization", "Bearer " + "` + token + `")]`,
	} {
		if !strings.Contains(code, from) {
			t.Fatalf("there is no %s in %s", from, code)
		}
		code = strings.Replace(code, from, to, 1)
	}
	write(t, filepath.Join(folder, "client.py"), code)
}

// generate runs buf, and has the folder get what it makes.
func generate(t *testing.T, folder string) {
	t.Helper()
	plugins, err := filepath.Abs("../../server/console/node_modules/.bin")
	if err != nil {
		t.Fatal(err)
	}
	buf := exec.CommandContext(t.Context(), "../../.ci/buf", "generate", "--template", filepath.Join(folder, "clients.yaml"), "--output", folder)
	buf.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":"+plugins)
	output(t, buf)
}

// block is the code of the README in a language.
func block(t *testing.T, language string) string {
	t.Helper()
	text, err := os.ReadFile("../../gen/README.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?ms)^```" + language + "\n(.*?)^```$").FindStringSubmatch(string(text))
	if found == nil {
		t.Fatalf("gen/README.md has no %s", language)
	}
	return found[1]
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v: %s", cmd.Args, err, out)
	}
	return string(out)
}

// checkClient runs a client, which prints the id of the user that it creates, and returns all that
// it prints.
func checkClient(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	got := output(t, cmd)
	if !regexp.MustCompile(`(?m)^[0-9a-f-]{36}$`).MatchString(got) {
		t.Errorf("%v: %s", cmd.Args, got)
	}
	return got
}
