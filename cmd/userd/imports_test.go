package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// rooms says what the packages of the project may import of each other, and which
// modules only one of them may import. Programs may import everything, and so may what is
// below them and not listed.
var rooms = map[string]struct{ mayImport []string }{
	"gen/user/v1":                       {},
	"gen/user/v1/userv1connect":         {mayImport: []string{"gen/"}},
	"gen/userd/admin/v1":                {},
	"gen/userd/admin/v1/adminv1connect": {mayImport: []string{"gen/"}},
	"gen/user/v1/userv1errors":          {mayImport: []string{"gen/"}},
	"socket":                            {},
	"store":                             {},
	"store/guard":                       {},
	"store/idle":                        {},
	"store/stats":                       {},
	"store/wait":                        {},
	"store/sqlite":                      {mayImport: []string{"store", "store/guard", "store/idle", "store/stats", "store/wait"}},
	"store/postgres":                    {mayImport: []string{"store", "store/guard", "store/stats", "store/wait", "socket"}},
	"store/storetest":                   {mayImport: []string{"store", "store/storetest/pgbin"}},
	"store/storetest/pgbin":             {},
	"store/storetest/transcript":        {},
	"cache":                             {mayImport: []string{"store", "store/guard", "store/stats", "socket"}},
	"cache/cachetest":                   {mayImport: []string{"cache"}},
	"server/h2":                         {mayImport: []string{"socket"}},
	"server/admission":                  {mayImport: []string{"store", "store/guard"}},
	"server/failure":                    {mayImport: []string{"store", "gen/"}},
	"server/packing":                    {mayImport: []string{"server/failure"}},
	"server/regular":                    {},
	"server/rules":                      {mayImport: []string{"store", "gen/", "server/failure"}},
	"server/connections":                {mayImport: []string{"socket", "store/guard"}},
	"server/console":                    {mayImport: []string{"server/static"}},
	"server/openapi":                    {mayImport: []string{"server/static"}},
	"server/openapi/generate":           {},
	"server/static":                     {mayImport: []string{"server/etag"}},
	"server/etag":                       {},
	"server/wire":                       {mayImport: []string{"store", "cache", "gen/", "server/failure", "server/packing", "server/rules"}},
	"server/lane":                       {mayImport: []string{"server/h2"}},
	"server/webtext":                    {mayImport: []string{"server/failure", "server/lane"}},
	"server/auth":                       {mayImport: []string{"gen/", "server/auth/jwk", "server/connections", "server/failure", "server/regular"}},
	"server/auth/jwk":                   {},
	"server/auth/authtest":              {},
	"server/body":                       {mayImport: []string{"store/guard", "server/failure", "server/lane"}},
	"server/edge":                       {mayImport: []string{"gen/", "server/auth", "server/connections", "server/failure", "server/lane", "server/webtext", "store/guard"}},
	"server/gather":                     {mayImport: []string{"store/guard", "server/failure", "server/lane"}},
	"server/audit":                      {mayImport: []string{"server/auth", "server/telemetry"}},
	"server/telemetry":                  {mayImport: []string{"store", "store/guard", "store/stats", "cache", "gen/", "server/admission", "server/auth", "server/failure", "server/h2"}},
	"server/watch":                      {mayImport: []string{"store", "store/guard", "store/idle", "store/stats", "gen/", "server/failure", "server/gather", "server/packing", "server/wire"}},
	"server/users":                      {mayImport: []string{"store", "store/guard", "store/stats", "cache", "gen/", "server/audit", "server/etag", "server/failure", "server/gather", "server/packing", "server/watch", "server/wire"}},
	"server/status":                     {mayImport: []string{"gen/", "server/gather"}},
	"server":                            {mayImport: []string{"store", "gen/", "server/"}},
	"server/servertest":                 {mayImport: []string{"store", "store/sqlite", "cache", "gen/", "server", "server/wire"}},
	"cmd/userd/cli":                     {},
	"cmd/userd/rows":                    {mayImport: []string{"gen/"}},
	"cmd/userd/remote":                  {mayImport: []string{"gen/", "cmd/userd/cli", "cmd/userd/rows", "server/failure"}},
}

// owners are the packages that alone may import a module.
var owners = map[string][]string{
	"zombiezen.com/go/sqlite":  {"store/sqlite", "cmd/userbench/peers"},
	"github.com/jackc/pgx/v5":  {"store/postgres", "store/storetest"},
	"github.com/redis/rueidis": {"cache", "cache/cachetest"},

	"github.com/golang-jwt/jwt/v5": {"server/auth", "server/auth/authtest"},
	"github.com/MicahParks/jwkset": {"server/auth/jwk", "server/auth/authtest"},
}

const module = "github.com/example/userd/"

func TestPackagesImportOnlyTheirNeighbours(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "../../...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		room := strings.TrimPrefix(fields[0], module)
		for _, path := range fields[1:] {
			checkNeighbour(t, room, path)
			checkOwner(t, room, path)
		}
	}
}

func checkNeighbour(t *testing.T, room, path string) {
	neighbour, ours := strings.CutPrefix(path, module)
	rule, known := rooms[room]
	if !ours || !known && strings.HasPrefix(room, "cmd/") {
		return
	}
	if !known {
		t.Errorf("%s is no room that this test knows", room)
	}
	for _, allowed := range rule.mayImport {
		if neighbour == allowed || strings.HasSuffix(allowed, "/") && strings.HasPrefix(neighbour, allowed) {
			return
		}
	}
	t.Errorf("%s imports %s", room, neighbour)
}

func checkOwner(t *testing.T, room, path string) {
	for owned, rooms := range owners {
		if (path == owned || strings.HasPrefix(path, owned+"/")) && !slices.Contains(rooms, room) {
			t.Errorf("%s imports %s, which only %s may", room, path, strings.Join(rooms, " and "))
		}
	}
}

// Beside the standard library it needs the tables of Unicode, which that has only in parts.
func TestStoreImportsTheStandardLibraryOnly(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{join .Imports "\n"}}`, "../../store").Output()
	if err != nil {
		t.Fatal(err)
	}
	for path := range strings.FieldsSeq(string(out)) {
		if first, _, _ := strings.Cut(path, "/"); strings.Contains(first, ".") && !strings.HasPrefix(path, "golang.org/x/text/") {
			t.Errorf("store imports %s", path)
		}
	}
}
