package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/example/userd/server/regular"
)

// certificate is that of the listener, with the authorities of its clients, if they may
// have certificates. It can be read again while it is served.
type certificate struct {
	certFile, keyFile, clientCAFile string
	current                         atomic.Pointer[tls.Config]

	read    pemTexts // What the files held when they were read.
	seen    pemTexts // What they held at the last look.
	expired bool     // The log knows.
}

// pemTexts is what the files of a certificate hold.
type pemTexts struct{ cert, key, clientCA string }

// certificateInterval is the time between two looks at the files of the certificate.
const certificateInterval = time.Second / 4

// loadCertificate reads a certificate and its key, which must belong together, and the
// authorities of clients where there is a file of them.
func loadCertificate(certFile, keyFile, clientCAFile string) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, clientCAFile: clientCAFile}
	return c, c.load()
}

// load reads the files. When one of them is broken, all stays as it is.
func (c *certificate) load() error {
	var err error
	if c.read, err = c.contents(); err != nil {
		return err
	}
	pair, err := tls.X509KeyPair([]byte(c.read.cert), []byte(c.read.key))
	if err != nil {
		return fmt.Errorf("--tls-cert, --tls-key: %w", err)
	}
	config := &tls.Config{
		Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"}, // net/http adds them only to the one that it is given.
	}
	if c.clientCAFile != "" {
		config.ClientCAs = x509.NewCertPool()
		if !config.ClientCAs.AppendCertsFromPEM([]byte(c.read.clientCA)) {
			return fmt.Errorf("--tls-client-ca: %s has no certificate, PEM", c.clientCAFile)
		}
		config.ClientAuth = tls.VerifyClientCertIfGiven // Tokens and probes need none.
	}
	c.current.Store(config)
	return nil
}

// contents is what the files hold, nothing of one that cannot be read.
func (c *certificate) contents() (all pemTexts, err error) {
	for _, file := range []struct {
		flag, path string
		text       *string
	}{
		{"--tls-cert", c.certFile, &all.cert},
		{"--tls-key", c.keyFile, &all.key},
		{"--tls-client-ca", c.clientCAFile, &all.clientCA},
	} {
		if file.path == "" {
			continue
		}
		text, cause := regular.Read(file.path)
		if cause != nil && err == nil {
			err = fmt.Errorf("%s: %w", file.flag, cause)
		}
		*file.text = text
	}
	return all, err
}

// look reads the files again when they have changed: when they are the same twice, so that
// nothing is read that is half written. It also says when the certificate has expired.
func (c *certificate) look(logger *slog.Logger, hosts []string) {
	if c == nil {
		return
	}
	now, _ := c.contents() // What is wrong load says.
	changed := now == c.seen && now != c.read
	c.seen = now
	switch {
	case changed:
		c.reload(logger, "its files have changed", hosts)
	case c.expired != time.Now().After(c.leaf().NotAfter): // The clock may have been ahead.
		c.check(logger, time.Now(), nil)
	}
}

func (c *certificate) leaf() *x509.Certificate { return c.current.Load().Certificates[0].Leaf }

// tls is the configuration of a listener that serves the certificate as it is now.
func (c *certificate) tls() *tls.Config {
	return &tls.Config{
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.current.Load(), nil },
		MinVersion:         tls.VersionTLS12,
	}
}

// check says what clients will not accept: a time that is not now, and hosts that
// the certificate is not for.
func (c *certificate) check(logger *slog.Logger, now time.Time, hosts []string) {
	leaf := c.leaf()
	c.expired = now.After(leaf.NotAfter)
	switch {
	case c.expired:
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

// reload reads the certificate again when its files have changed, and with every SIGHUP all
// that can be read again, until ctx ends.
func (p *program) reload(ctx context.Context, c *certificate) {
	ticker := time.NewTicker(certificateInterval)
	defer ticker.Stop()
	for {
		select {
		case <-p.hangups:
			p.reloadAll(c)
		case <-ticker.C:
			c.look(p.logger, p.allowedHosts)
		case <-ctx.Done():
			return
		}
	}
}

// reloadAll opens the audit log anew, whose file somebody waits to compress, and reads callers
// and certificate again.
func (p *program) reloadAll(c *certificate) {
	p.audit.Reopen()
	if p.auth != nil {
		_ = p.auth.Reload() // It is in the log.
	}
	c.reload(p.logger, "SIGHUP", p.allowedHosts)
}

// reload reads the certificate again. A server without one, which is nil, has nothing that
// could be read.
func (c *certificate) reload(logger *slog.Logger, why string, hosts []string) {
	if c == nil {
		logger.Info(why + ": there is no TLS certificate to read again")
		return
	}
	if err := c.load(); err != nil {
		logger.Error(why+": the TLS certificate stays as it was", "error", err)
		return
	}
	logger.Info(why+": read the TLS certificate again", "not_after", c.leaf().NotAfter)
	c.check(logger, time.Now(), hosts)
}
