package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A pipe is refused as a file of the certificate, and nobody waits for what may come out of it: at
// the start, and when it has taken the place of one of them.
func TestPipesForTheCertificateAreRefused(t *testing.T) {
	t.Parallel()
	pair := newKeyPair(t)
	pair.write(t, 1, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for flag, files := range map[string][3]string{
		"--tls-cert":      {pipe, pair.key, ""},
		"--tls-key":       {pair.cert, pipe, ""},
		"--tls-client-ca": {pair.cert, pair.key, pipe},
	} {
		want := flag + ": " + pipe + " is no regular file"
		if _, err := loadCertificate(files[0], files[1], files[2]); err == nil || err.Error() != want {
			t.Errorf("it starts with %v, not %s", err, want)
		}
	}
	c, err := loadCertificate(pair.cert, pair.key, pair.cert)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(pipe, pair.key); err != nil {
		t.Fatal(err)
	}
	if err := c.load(); err == nil || !strings.Contains(err.Error(), "is no regular file") {
		t.Errorf("it is read again with %v", err)
	}
	if c.leaf().SerialNumber.Int64() != 1 {
		t.Error("the certificate of before is not served")
	}
}
