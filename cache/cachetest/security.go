package cachetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Rights are what the user of a cache needs, as an ACL rule.
const Rights = "~userd:* +@connection +@string +@keyspace +@transaction +@scripting +role +cluster|shards +cluster|slots"

// The users of a Redis with passwords: the cache's, and another that may do
// everything. A Sentinel has one of its own.
const (
	userName = "userd"
	rootName = "root"
)

// Security is what servers ask of their clients: passwords, and TLS with
// certificates of an authority of its own.
type Security struct {
	Password         string // Of user "userd", who has Rights.
	SentinelPassword string // Of user "userd" of a Sentinel.
	CA               string // PEM file with the authority's certificate.

	root      string // Password of the user who may do everything.
	dir       string
	key       *ecdsa.PrivateKey
	authority *x509.Certificate
	roots     *x509.CertPool

	issuing sync.Mutex // Servers that start together share their host's certificate.
}

// NewSecurity makes passwords and an authority.
func NewSecurity(t testing.TB) *Security {
	t.Helper()
	s := &Security{
		Password: "p-" + rand.Text(), SentinelPassword: "s-" + rand.Text(), root: "r-" + rand.Text(), dir: t.TempDir(),
	}
	s.authority = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "cachetest"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	s.key = newKey(t)
	s.CA = filepath.Join(s.dir, "ca.pem")
	signed := s.sign(t, s.authority, &s.key.PublicKey)
	writePEM(t, s.CA, "CERTIFICATE", signed)
	trusted, err := x509.ParseCertificate(signed)
	if err != nil {
		t.Fatal(err)
	}
	s.roots = x509.NewCertPool()
	s.roots.AddCert(trusted)
	return s
}

// certificate makes the certificate of a host, and returns its files.
func (s *Security) certificate(t testing.TB, host string) (certificate, key string) {
	t.Helper()
	s.issuing.Lock()
	defer s.issuing.Unlock()
	certificate, key = filepath.Join(s.dir, host+".pem"), filepath.Join(s.dir, host+".key")
	if _, err := os.Stat(key); err == nil {
		return certificate, key
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: host},
		NotBefore: s.authority.NotBefore, NotAfter: s.authority.NotAfter,
	}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{host}
	}
	private := newKey(t)
	writePEM(t, certificate, "CERTIFICATE", s.sign(t, template, &private.PublicKey))
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, key, "PRIVATE KEY", encoded)
	return certificate, key
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (s *Security) sign(t testing.TB, template *x509.Certificate, public *ecdsa.PublicKey) []byte {
	t.Helper()
	signed, err := x509.CreateCertificate(rand.Reader, template, s.authority, public, s.key)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func writePEM(t testing.TB, path, kind string, content []byte) {
	t.Helper()
	encoded := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content})
	if err := os.WriteFile(path, encoded, 0o600); err != nil {
		t.Fatal(err)
	}
}

// settings are those of a server at 127.0.0.1 that listens with TLS on a port.
func (s *Security) settings(t testing.TB, port string) []string {
	t.Helper()
	settings := s.tlsSettings(t, "127.0.0.1", port)
	for _, line := range []string{
		"--user " + rootName + " on >" + s.root + " ~* &* +@all",
		"--user " + userName + " on >" + s.Password + " " + Rights,
		"--user default off",
		"--masteruser " + rootName, "--masterauth " + s.root,
	} {
		settings = append(settings, strings.Fields(line)...)
	}
	return settings
}

func (s *Security) tlsSettings(t testing.TB, host, port string) []string {
	t.Helper()
	certificate, key := s.certificate(t, host)
	return []string{
		"--port", "0", "--tls-port", port, "--tls-cert-file", certificate, "--tls-key-file", key,
		"--tls-ca-cert-file", s.CA, "--tls-auth-clients", "no", "--tls-replication", "yes", "--tls-cluster", "yes",
	}
}

// config is how a test connects.
func (s *Security) config() *tls.Config {
	return &tls.Config{RootCAs: s.roots, MinVersion: tls.VersionTLS12}
}

// secureURL names a server for a user.
func secureURL(address, user, password string) string {
	u := url.URL{Scheme: "rediss", Host: address, User: url.UserPassword(user, password)}
	return u.String()
}
