package remote

import "os"

// hold reports whether a part is still there: nobody removes it here.
func hold(*os.File) bool { return true }

// removeUnheld removes nothing: an open file cannot be renamed here, so that no part can be held
// until it has the name of the file.
func removeUnheld(string) {}

// become gives a part the name of the file.
func become(part *os.File, path string) error {
	if err := part.Close(); err != nil {
		return err
	}
	return os.Rename(part.Name(), path)
}
