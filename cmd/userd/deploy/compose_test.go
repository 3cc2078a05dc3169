package deploy_test

import (
	"os"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
)

// The profile observability is seen by this machine only, has versions that do not change by
// themselves, and finds the files that it names.
func TestObservabilityOfCompose(t *testing.T) {
	t.Parallel()
	options, err := cli.NewProjectOptions([]string{"../../../compose.yaml"}, cli.WithProfiles([]string{"observability"}))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"prometheus", "grafana"} {
		service, ok := project.Services[name]
		if !ok {
			t.Fatalf("there is no %s", name)
		}
		if _, version, _ := strings.Cut(service.Image, ":"); strings.Count(version, ".") != 2 {
			t.Errorf("%s runs %s", name, service.Image)
		}
		for _, port := range service.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s publishes %s:%s", name, port.HostIP, port.Published)
			}
		}
		for _, volume := range service.Volumes {
			if _, err := os.Stat(volume.Source); volume.Type == "bind" && err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if got := *project.Services["userd"].Environment["USERD_ADMIN_LISTEN"]; got != "0.0.0.0:9090" {
		t.Errorf("Prometheus looks for userd:9090, which listens on %s", got)
	}
}
