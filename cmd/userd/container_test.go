package main

import (
	"context"
	"debug/elf"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

const root = "../.."

func loadCompose(t *testing.T) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{filepath.Join(root, "compose.yaml")})
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return project
}

func TestComposeOpensNothingButTheService(t *testing.T) {
	t.Parallel()
	for name, service := range loadCompose(t).Services {
		for _, port := range service.Ports {
			if name != "userd" || port.HostIP != "127.0.0.1" || port.Target != 8080 {
				t.Errorf("%s publishes %s:%s to %d", name, port.HostIP, port.Published, port.Target)
			}
		}
	}
}

func TestComposeKnowsWhenServicesAreHealthy(t *testing.T) {
	t.Parallel()
	services := loadCompose(t).Services
	for _, name := range []string{"userd", "postgres", "redis"} {
		if check := services[name].HealthCheck; check == nil || check.Disable || len(check.Test) == 0 {
			t.Errorf("%s has no healthcheck", name)
		}
	}
	if got, want := services["userd"].HealthCheck.Test, []string{"CMD", "/userd", "healthcheck"}; !slices.Equal(got, want) {
		t.Errorf("healthcheck of userd: %q, want %q", got, want)
	}
	for service, dependencies := range map[string]map[string]string{
		"userd":   {"migrate": types.ServiceConditionCompletedSuccessfully, "redis": types.ServiceConditionHealthy},
		"migrate": {"postgres": types.ServiceConditionHealthy},
	} {
		for name, condition := range dependencies {
			if got := services[service].DependsOn[name].Condition; got != condition {
				t.Errorf("%s waits for %s until %q, want %q", service, name, got, condition)
			}
		}
	}
}

func TestComposeRunsTheServersWeName(t *testing.T) {
	t.Parallel()
	services := loadCompose(t).Services
	for name, oldest := range map[string]int{"redis": 8, "postgres": 17} {
		image, tag, _ := strings.Cut(services[name].Image, ":")
		if major, err := strconv.Atoi(tag); image != name || err != nil || major < oldest {
			t.Errorf("%s runs %s, want version %d or newer", name, services[name].Image, oldest)
		}
		if len(services[name].Volumes) == 0 {
			t.Errorf("%s keeps its data nowhere", name)
		}
	}
	redis := strings.Join(services["redis"].Command, " ")
	if !strings.Contains(redis, "--maxmemory-policy volatile-lru") || !strings.Contains(redis, "--maxmemory 256mb") {
		t.Errorf("redis runs as %q", redis)
	}
}

// TestComposeSetsFlagsThatExist catches a variable that no flag reads.
func TestComposeSetsFlagsThatExist(t *testing.T) {
	t.Parallel()
	for name, service := range loadCompose(t).Services {
		for variable := range service.Environment {
			flag, ours := strings.CutPrefix(variable, "USERD_")
			flag = strings.ToLower(strings.ReplaceAll(flag, "_", "-"))
			if ours && serveCommand().Flags().Lookup(flag) == nil {
				t.Errorf("%s: %s sets no flag", name, variable)
			}
		}
	}
}

// What the image sets lets others than the container reach the service.
func TestImageListensForOthers(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	address := regexp.MustCompile(`\bUSERD_LISTEN=(\S+)`).FindStringSubmatch(string(text))
	if address == nil {
		t.Fatal("the image does not say where it listens")
	}
	host, port, err := net.SplitHostPort(address[1])
	if err != nil || isLoopback(host) || !strings.Contains(string(text), "\nEXPOSE "+port+"\n") {
		t.Errorf("the image listens on %s, %v", address[1], err)
	}
}

// TestDockerfileBuildsAStaticBinary runs the build's commands as they stand, in a
// copy of what Docker would copy.
func TestDockerfileBuildsAStaticBinary(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	build, image, ok := strings.Cut(string(text), "\nFROM gcr.io/distroless/static-debian12:nonroot\n")
	if !ok || !strings.Contains(image, "\nUSER nonroot\n") {
		t.Error("the image is not distroless, or runs as root")
	}
	src := t.TempDir()
	shell(t, root, "git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents --no-dereference -t "+src)
	commands := 0
	arguments := "TARGETOS=linux TARGETARCH=" + runtime.GOARCH // As BuildKit sets them.
	for line := range strings.Lines(build) {
		if command, ok := strings.CutPrefix(line, "RUN "); ok {
			shell(t, src, arguments+"; "+command)
			commands++
		}
	}
	if commands == 0 {
		t.Fatal("the Dockerfile builds nothing")
	}
	binary, err := elf.Open(filepath.Join(src, "out/userd"))
	if err != nil {
		t.Fatal(err)
	}
	defer binary.Close()
	if binary.Section(".interp") != nil {
		t.Error("the binary is not static")
	}
	shell(t, src, "out/userd version")
}

func shell(t *testing.T, dir, command string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", command)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
}
