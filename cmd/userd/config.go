package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/example/userd/cache"
	"github.com/example/userd/server"
	"github.com/example/userd/server/auth"
	"github.com/example/userd/server/wire"
)

// config is what the flags of serve say.
type config struct {
	listen                 string
	adminListen            string
	database               string
	redis                  string
	cacheTTL               time.Duration
	cacheMaxEntries        int
	insecure               bool
	http2                  string
	maxConnections         int
	maxConnectionAge       time.Duration
	maxConcurrentStreams   int
	maxStreamsPerPrincipal int
	maxStreamsPerAddress   int
	sendTimeout            time.Duration
	idleTimeout            time.Duration
	maxMessageBytes        int
	tlsCert, tlsKey        string
	tlsClientCA            string
	authFile               string
	jwtKeys                string
	jwtIssuer              string
	jwtAudience            string
	auditLog               string
	auditRequired          bool
	corsOrigins            []string
	allowedHosts           []string
	pprof                  bool
	console                bool
	loginResolution        time.Duration
	changesRetention       time.Duration
	shutdownDelay          time.Duration
	shutdownTimeout        time.Duration
	logLevel               slog.Level
	logFormat              string
	banner                 string
}

// relayMargin is how much longer than cached users the changes are kept, so that a
// cache that comes back can be brought up to date.
const relayMargin = 10 * time.Minute

// Defaults that more than one command has.
const (
	defaultAdminListen = "127.0.0.1:9090"
	defaultDatabase    = "sqlite:userd.db"
)

func (c *config) register(flags *pflag.FlagSet) {
	flags.StringVar(&c.listen, "listen", "127.0.0.1:8080", "address to serve on, host:port")
	flags.StringVar(&c.adminListen, "admin-listen", defaultAdminListen, `address of metrics and probes, host:port; "" for none`)
	flags.BoolVar(&c.pprof, "pprof", false, "serve profiles of the process at /debug/pprof/ of the admin listener")
	flags.StringVar(&c.database, "database", defaultDatabase, "where the users are: "+databaseUsage)
	addFileFlag(flags, "database")
	flags.StringVar(&c.redis, "redis", "", `cache that all servers share: redis:// or rediss://USER:PASSWORD@HOST, with ?master_set=NAME for Sentinels or ?addr=HOST:PORT for each further node of a Cluster; "" for a cache in this process`)
	addFileFlag(flags, "redis")
	flags.DurationVar(&c.cacheTTL, "cache-ttl", 5*time.Minute, "how long a user stays in the cache")
	flags.IntVar(&c.cacheMaxEntries, "cache-max-entries", 10_000, "most users that this process keeps in memory; 0 for no cache at all")
	flags.BoolVar(&c.insecure, "insecure", false, "serve to other machines although anybody may then read and write all users")
	flags.StringVar(&c.http2, "http2", string(server.Engine), "what serves HTTP/2: engine, our own, which is faster, or std, the standard library")
	flags.IntVar(&c.maxConnections, "max-connections", 10_000, "most connections at a time")
	flags.DurationVar(&c.maxConnectionAge, "max-connection-age", 0, "how old a connection may become, a tenth more or less, until its caller is told to open another one: where clients connect to several servers without a proxy that spreads calls, such as 10m; 0 for any age")
	flags.IntVar(&c.maxConcurrentStreams, "max-concurrent-streams", 100, "most calls at a time on one HTTP/2 connection")
	flags.IntVar(&c.maxStreamsPerPrincipal, "max-streams-per-principal", 1_000, "most streams (lists, watches, imports, updates) that one name of --auth-file or subject of a JWT may have open")
	flags.IntVar(&c.maxStreamsPerAddress, "max-streams-per-address", 10_000, "most streams from one address; all callers behind a proxy have one")
	flags.DurationVar(&c.sendTimeout, "send-timeout", 30*time.Second, "how long what is sent may wait for a caller that does not read it")
	flags.DurationVar(&c.idleTimeout, "idle-timeout", 2*time.Minute, "how long a connection may have no call")
	flags.IntVar(&c.maxMessageBytes, "max-message-bytes", 16<<20, "largest message, decompressed")
	flags.StringVar(&c.tlsCert, "tls-cert", "", "file with the certificate chain, PEM; turns TLS on")
	flags.StringVar(&c.tlsKey, "tls-key", "", "file with the key of the certificate, PEM")
	flags.StringVar(&c.tlsClientCA, "tls-client-ca", "", "file with the authorities that client certificates are of, PEM; --auth-file says whose they are")
	flags.StringVar(&c.authFile, "auth-file", "", "file with the callers who are let in, on both listeners, and what they may do; userd token new makes its lines")
	flags.StringVar(&c.jwtKeys, "jwt-keys", "", "JWK set of the issuer whose JWT are let in, a file or an http(s) URL; their claims scope or scp say what they may do")
	flags.StringVar(&c.jwtIssuer, "jwt-issuer", "", "what the claim iss of a JWT must be; --jwt-keys needs it")
	flags.StringVar(&c.jwtAudience, "jwt-audience", "", "what the claim aud of a JWT must have; --jwt-keys needs it")
	flags.StringVar(&c.auditLog, "audit-log", "auto", "where a line for each write goes: log, none, a file, which SIGHUP opens anew, or auto: to the log where callers are known")
	flags.BoolVar(&c.auditRequired, "audit-required", false, "be unready while --audit-log cannot be written")
	flags.StringSliceVar(&c.corsOrigins, "cors-origin", nil, "`origins` whose pages may call, such as https://app.example.com; \"*\" for all")
	flags.StringSliceVar(&c.allowedHosts, "allowed-host", nil, "`names` besides localhost by which callers ask for this server, such as userd.example.com or *.example.com; \"*\" for any")
	flags.BoolVar(&c.console, "console", true, "serve the page for people at /console/")
	flags.DurationVar(&c.loginResolution, "login-resolution", time.Minute, "shortest time between two writes for logins of one user; 0 writes each")
	flags.DurationVar(&c.changesRetention, "changes-retention", 168*time.Hour, "how long changes are kept for watchers")
	flags.DurationVar(&c.shutdownDelay, "shutdown-delay", 0, "how long to go on serving after SIGTERM, unready: as long as load balancers take to notice, in Kubernetes 5s")
	flags.DurationVar(&c.shutdownTimeout, "shutdown-timeout", 20*time.Second, "how long calls under way may take after SIGTERM and --shutdown-delay")
	flags.TextVar(&c.logLevel, "log-level", slog.LevelInfo, "the least `level` that is logged: debug, info, warn or error")
	flags.StringVar(&c.logFormat, "log-format", "auto", "text, json, or auto: text on a terminal")
	flags.StringVar(&c.banner, "banner", "auto", "say on standard output where the server is, and how to try it: always, never, or auto: on a terminal")
}

// check returns what is wrong with a config, in one line.
func (c *config) check(ctx context.Context) error {
	switch {
	case (c.tlsCert == "") != (c.tlsKey == ""):
		return errors.New("--tls-cert and --tls-key go together: one of them is missing")
	case c.tlsClientCA != "" && c.tlsCert == "":
		return errors.New("--tls-client-ca needs --tls-cert: certificates are shown over TLS")
	case c.tlsClientCA != "" && c.authFile == "":
		return errors.New("--tls-client-ca needs --auth-file, which says whose certificates are let in")
	case c.jwtKeys != "" && (c.jwtIssuer == "" || c.jwtAudience == ""):
		return errors.New("--jwt-keys needs --jwt-issuer and --jwt-audience: else tokens for other services would be let in")
	case c.jwtKeys == "" && (c.jwtIssuer != "" || c.jwtAudience != ""):
		return errors.New("--jwt-issuer and --jwt-audience need --jwt-keys")
	case c.auditLog == "":
		return errors.New("--audit-log must be auto, log, none or a file")
	case c.auditRequired && (c.auditLog == "none" || c.auditLog == "auto" && !c.knowsCallers()):
		return errors.New("--audit-required needs an audit log: say --audit-log log, or a file")
	case c.http2 != string(server.Std) && c.http2 != string(server.Engine):
		return errors.New("--http2 must be engine or std")
	case c.maxConnections < 1:
		return fmt.Errorf("--max-connections must be at least 1, not %d", c.maxConnections)
	case c.maxConnectionAge < 0:
		return fmt.Errorf("--max-connection-age must not be negative, not %s", c.maxConnectionAge)
	case c.maxConcurrentStreams < 1:
		return fmt.Errorf("--max-concurrent-streams must be at least 1, not %d", c.maxConcurrentStreams)
	case c.maxStreamsPerPrincipal < 1:
		return fmt.Errorf("--max-streams-per-principal must be at least 1, not %d", c.maxStreamsPerPrincipal)
	case c.maxStreamsPerAddress < 1:
		return fmt.Errorf("--max-streams-per-address must be at least 1, not %d", c.maxStreamsPerAddress)
	case c.sendTimeout <= 0:
		return fmt.Errorf("--send-timeout must be positive, not %s", c.sendTimeout)
	case c.idleTimeout <= 0:
		return fmt.Errorf("--idle-timeout must be positive, not %s", c.idleTimeout)
	case c.maxMessageBytes < 1024:
		return fmt.Errorf("--max-message-bytes must be at least 1024, not %d", c.maxMessageBytes)
	case c.shutdownDelay < 0:
		return fmt.Errorf("--shutdown-delay must not be negative, not %s", c.shutdownDelay)
	case c.loginResolution < 0:
		return fmt.Errorf("--login-resolution must not be negative, not %s", c.loginResolution)
	case c.cacheTTL <= 0:
		return fmt.Errorf("--cache-ttl must be positive, not %s", c.cacheTTL)
	case c.cacheMaxEntries < 0:
		return fmt.Errorf("--cache-max-entries must not be negative, not %d", c.cacheMaxEntries)
	case c.cacheMaxEntries == 0 && c.redis != "":
		return errors.New("--cache-max-entries 0 turns the cache off, and --redis asks for one")
	case c.changesRetention <= c.cacheTTL+relayMargin:
		return fmt.Errorf("--changes-retention must be more than --cache-ttl and %s, not %s", relayMargin, c.changesRetention)
	case c.pprof && c.adminListen == "":
		return errors.New("--pprof needs --admin-listen, where profiles are served")
	case c.shutdownTimeout < 0:
		return fmt.Errorf("--shutdown-timeout must not be negative, not %s", c.shutdownTimeout)
	case c.logFormat != "auto" && c.logFormat != "text" && c.logFormat != "json":
		return errors.New("--log-format must be text, json or auto")
	case c.banner != "auto" && c.banner != "always" && c.banner != "never":
		return errors.New("--banner must be auto, always or never")
	}
	if err := c.checkOrigins(); err != nil {
		return err
	}
	if err := c.checkHosts(); err != nil {
		return err
	}
	if err := c.checkListen(ctx, "--listen", c.listen, "read and write all users"); err != nil || c.adminListen == "" {
		return err
	}
	return c.checkListen(ctx, "--admin-listen", c.adminListen, "read what the server does")
}

func (c *config) checkOrigins() error {
	for _, origin := range c.corsOrigins {
		scheme, host, found := strings.Cut(origin, "://")
		if origin != "*" && (!found || scheme != "http" && scheme != "https" || host == "" || strings.ContainsAny(host, "/?# ")) {
			return errors.New("--cors-origin must be an origin such as https://app.example.com, or *")
		}
	}
	return nil
}

// hostName is what --allowed-host takes, but for "*".
var hostName = regexp.MustCompile(`^(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?$|^\[[0-9A-Fa-f:.]+\]$`)

func (c *config) checkHosts() error {
	for _, host := range c.allowedHosts {
		if host != "*" && !hostName.MatchString(host) {
			return errors.New("--allowed-host must be a host without scheme and port, such as userd.example.com or *.example.com, or *")
		}
	}
	return nil
}

// checkListen refuses to serve everybody by accident: without authentication, the
// loopback interface is the only place where callers can be trusted.
func (c *config) checkListen(ctx context.Context, flag, address, could string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%s must be host:port", flag)
	}
	if c.insecure || c.knowsCallers() || isLoopback(host) {
		return nil
	}
	if net.ParseIP(host) == nil && host != "" {
		if _, err := net.DefaultResolver.LookupHost(ctx, host); err != nil {
			return fmt.Errorf("%s %s: there is no host of this name", flag, address)
		}
	}
	return fmt.Errorf("%s %s would serve other machines, and anybody there could %s; name those who may with --auth-file or --jwt-keys, or say --insecure to do it all the same", flag, address, could)
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// certificate is that of the listener, or nil for none.
func (c *config) certificate() (*certificate, error) {
	if c.tlsCert == "" {
		return nil, nil
	}
	return loadCertificate(c.tlsCert, c.tlsKey, c.tlsClientCA)
}

// knowsCallers reports whether only some are let in.
func (c *config) knowsCallers() bool { return c.authFile != "" || c.jwtKeys != "" }

// authorizer knows the callers, or is nil where everybody is let in.
func (c *config) authorizer(logger *slog.Logger, registry prometheus.Registerer) (*auth.Authorizer, error) {
	if !c.knowsCallers() {
		return nil, nil
	}
	authorizer, err := auth.New(auth.Config{
		File: c.authFile, Keys: c.jwtKeys, Issuer: c.jwtIssuer, Audience: c.jwtAudience, Logger: logger, Registry: registry,
	})
	switch {
	case errors.Is(err, auth.ErrKeys):
		return nil, fmt.Errorf("--jwt-keys: %w", err)
	case err != nil:
		return nil, fmt.Errorf("--auth-file: %w", err)
	}
	if host, _, _ := net.SplitHostPort(c.listen); c.tlsCert == "" && !isLoopback(host) {
		logger.Warn("tokens come in the clear: with --tls-cert, or a proxy that has TLS, nobody on their way can read them")
	}
	if host, _, _ := net.SplitHostPort(c.adminListen); c.adminListen != "" && !isLoopback(host) {
		logger.Warn("the admin listener has no TLS, and tokens come to it in the clear: keep --admin-listen on a network of your own, or put a proxy that has TLS before it")
	}
	if keys, err := url.Parse(c.jwtKeys); err == nil && keys.Scheme == "http" && !isLoopback(keys.Hostname()) {
		logger.Warn("the keys of JWT come in the clear: whoever is on their way could let in anybody; give --jwt-keys an https URL")
	}
	return authorizer, nil
}

// cache is the configuration of the cache.
func (c *config) cache(logger *slog.Logger) cache.Config {
	return cache.Config{
		Redis:      c.redis,
		TTL:        c.cacheTTL,
		MaxEntries: c.cacheMaxEntries,
		Encode:     wire.EncodeUser,
		Decode:     wire.DecodeUser,
		Logger:     logger,
	}
}

// logger writes to out, which stands for standard error.
func (c *config) logger(out io.Writer) *slog.Logger { return slog.New(c.handler(out, c.logLevel)) }

// handler makes lines of the log.
func (c *config) handler(out io.Writer, level slog.Level) slog.Handler {
	options := &slog.HandlerOptions{Level: level}
	terminal := term.IsTerminal(int(os.Stderr.Fd()))
	if c.logFormat == "json" || c.logFormat == "auto" && !terminal {
		return slog.NewJSONHandler(out, options)
	}
	return slog.NewTextHandler(out, options)
}
