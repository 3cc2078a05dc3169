package userdtest

import (
	"crypto/x509"
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// Certificate makes files of the certificate of package httptest, which is for
// 127.0.0.1: with its key for a server, and alone for clients that have to trust it.
func Certificate(t testing.TB) (pair, ca string) {
	t.Helper()
	certified := httptest.NewTLSServer(nil)
	defer certified.Close()
	own := certified.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(own.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: own.Certificate[0]})
	both := slices.Concat(certificate, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	folder := t.TempDir()
	pair, ca = filepath.Join(folder, "pair.pem"), filepath.Join(folder, "ca.pem")
	for path, data := range map[string][]byte{pair: both, ca: certificate} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return pair, ca
}
