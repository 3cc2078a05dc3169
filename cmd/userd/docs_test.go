package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestDocsNameTheirFiles checks that the documentation of a package that says what is in which
// file says so of all of them, and of none that is not there.
func TestDocsNameTheirFiles(t *testing.T) {
	t.Parallel()
	packages, files := sources(t, filepath.Join("..", ".."))
	checked := 0
	for folder, own := range packages {
		if !slices.Contains(own, "doc.go") {
			continue
		}
		named := namedFiles(t, filepath.Join(folder, "doc.go"))
		for _, name := range named {
			if !files[name] {
				t.Errorf("%s names %s, which there is not", folder, name)
			}
		}
		if !slices.ContainsFunc(named, func(name string) bool { return slices.Contains(own, name) }) {
			continue // It does not say what is where.
		}
		checked++
		var families []string
		for _, name := range named {
			families = append(families, family(name))
		}
		for _, name := range own {
			if name != "doc.go" && !slices.Contains(families, family(name)) {
				t.Errorf("the documentation of %s does not name %s", folder, name)
			}
		}
	}
	if checked < 20 {
		t.Errorf("%d packages say what is in which file", checked)
	}
}

// TestContributingNamesAllPackages checks that the map of the packages lacks none.
func TestContributingNamesAllPackages(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	named := make(map[string]bool)
	for _, line := range regexp.MustCompile(`(?m)^[ │]+[├└]─ (\w+) `).FindAllStringSubmatch(string(text), -1) {
		named[line[1]] = true
	}
	for room := range rooms {
		if strings.Contains(room, "/") && !strings.HasPrefix(room, "gen/") && !named[path.Base(room)] {
			t.Errorf("CONTRIBUTING.md does not name %s", room)
		}
	}
}

// sources are the names of the files of Go below a root: by folder without tests, and all.
func sources(t *testing.T, root string) (packages map[string][]string, files map[string]bool) {
	t.Helper()
	packages, files = make(map[string][]string), make(map[string]bool)
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		name := entry.Name()
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (name == "node_modules" || name == "testdata" || strings.HasPrefix(name, ".") && name != ".."):
			return filepath.SkipDir
		case strings.HasSuffix(name, "_test.go"):
			files[name] = true
		case strings.HasSuffix(name, ".go"):
			files[name] = true
			packages[filepath.Dir(path)] = append(packages[filepath.Dir(path)], name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return packages, files
}

var fileName = regexp.MustCompile(`\b[a-z][a-z0-9_]*\.go\b`)

// namedFiles are the files that the comment of a package names.
func namedFiles(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	file, err := parser.ParseFile(token.NewFileSet(), path, text, parser.ParseComments|parser.PackageClauseOnly)
	if err != nil {
		t.Fatal(err)
	}
	return fileName.FindAllString(file.Doc.Text(), -1)
}

// family is what the files of one thing for several systems have in common.
func family(name string) string {
	name = strings.TrimSuffix(name, ".go")
	for _, system := range []string{"_linux", "_unix", "_windows", "_darwin", "_other"} {
		name = strings.TrimSuffix(name, system)
	}
	return name
}
