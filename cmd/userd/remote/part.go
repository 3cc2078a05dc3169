package remote

import (
	"os"
	"path/filepath"
	"regexp"
)

// createPart makes a file that becomes another when it is whole, and removes those that killed
// exports to that have left. Another export that runs has its own, and keeps it.
func createPart(path string) (*os.File, error) {
	dir, base := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	left := regexp.MustCompile("^" + regexp.QuoteMeta(base) + `\.\d+\.part$`)
	entries, _ := os.ReadDir(dir) // What stays there is no harm to this export.
	for _, entry := range entries {
		if left.MatchString(entry.Name()) && entry.Type().IsRegular() {
			removeUnheld(filepath.Join(dir, entry.Name()))
		}
	}
	for {
		part, err := os.CreateTemp(dir, base+".*.part")
		if err != nil || hold(part) {
			return part, err
		}
		_ = part.Close() // Another export has just removed it.
	}
}
