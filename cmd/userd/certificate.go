package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// certificate is that of the listener. It can be read again while it is served.
type certificate struct {
	certFile, keyFile string
	current           atomic.Pointer[tls.Certificate]
}

// loadCertificate reads a certificate and its key, which must belong together.
func loadCertificate(certFile, keyFile string) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile}
	return c, c.load()
}

// load reads the files. When they are not a pair, the certificate stays as it is.
func (c *certificate) load() error {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("--tls-cert, --tls-key: %w", err)
	}
	c.current.Store(&pair)
	return nil
}

func (c *certificate) leaf() *x509.Certificate { return c.current.Load().Leaf }

// tls is the configuration of a listener that serves the certificate as it is now.
func (c *certificate) tls() *tls.Config {
	return &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current.Load(), nil },
		MinVersion:     tls.VersionTLS12,
	}
}

// check says what clients will not accept: a time that is not now, and hosts that
// the certificate is not for.
func (c *certificate) check(logger *slog.Logger, now time.Time, hosts []string) {
	leaf := c.leaf()
	switch {
	case now.After(leaf.NotAfter):
		logger.Warn("the TLS certificate has expired", "not_after", leaf.NotAfter)
	case now.Before(leaf.NotBefore):
		logger.Warn("the TLS certificate is not valid yet", "not_before", leaf.NotBefore)
	}
	for _, host := range hosts {
		if !strings.Contains(host, "*") && leaf.VerifyHostname(strings.TrimSuffix(host, ".")) != nil {
			logger.Warn("the TLS certificate is not valid for an --allowed-host", "host", host)
		}
	}
}

func (c *certificate) registerMetrics(registry *prometheus.Registry) {
	for name, gauge := range map[string]struct {
		help string
		time func() time.Time
	}{
		"not_before": {"Time from which the TLS certificate is valid.", func() time.Time { return c.leaf().NotBefore }},
		"expiry":     {"Time at which the TLS certificate expires.", func() time.Time { return c.leaf().NotAfter }},
	} {
		registry.MustRegister(prometheus.NewGaugeFunc(
			prometheus.GaugeOpts{Name: "userd_tls_certificate_" + name + "_timestamp_seconds", Help: gauge.help},
			func() float64 { return float64(gauge.time().Unix()) }))
	}
}

// reloadOnHangup reads the certificate again with every SIGHUP, until ctx ends. A
// server without one, which is nil, has nothing that could be read again.
func reloadOnHangup(ctx context.Context, hangups <-chan os.Signal, c *certificate, hosts []string, logger *slog.Logger) {
	for {
		select {
		case <-hangups:
		case <-ctx.Done():
			return
		}
		if c == nil {
			logger.Info("SIGHUP: there is no TLS certificate to read again")
			continue
		}
		if err := c.load(); err != nil {
			logger.Error("SIGHUP: the TLS certificate stays as it was", "error", err)
			continue
		}
		logger.Info("SIGHUP: read the TLS certificate again", "not_after", c.leaf().NotAfter)
		c.check(logger, time.Now(), hosts)
	}
}
