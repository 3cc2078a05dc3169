package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"syscall"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"
	"go.opentelemetry.io/otel"
	"golang.org/x/sync/errgroup"

	"github.com/example/userd/cache"
	"github.com/example/userd/cmd/userd/cli"
	"github.com/example/userd/server"
	"github.com/example/userd/server/admission"
	"github.com/example/userd/server/audit"
	"github.com/example/userd/server/auth"
	"github.com/example/userd/server/edge"
	"github.com/example/userd/server/telemetry"
	"github.com/example/userd/store"
	"github.com/example/userd/store/guard"
)

// pruneInterval is the time between two looks for changes that are too old.
const pruneInterval = 10 * time.Minute

// liveHeap adds how much of the heap is alive, by which one sees that memory becomes short.
var liveHeap = collectors.WithGoCollectorRuntimeMetrics(collectors.GoRuntimeMetricsRule{Matcher: regexp.MustCompile(`^/gc/heap/live:bytes$`)})

func serveCommand() *cobra.Command {
	var c config
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the service",
		Example: "  userd serve\n" +
			"  userd serve --database sqlite:/var/lib/userd/userd.db --auth-file /etc/userd/auth --listen 0.0.0.0:8080 --tls-cert cert.pem --tls-key key.pem\n" +
			"  userd serve --database-file database --redis redis://cache.internal:6379 --allowed-host userd.example.com",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.check(cmd.Context()); err != nil {
				return cli.Wrong(err)
			}
			return serve(cmd.Context(), c, cmd.OutOrStdout())
		},
	}
	c.register(cmd.Flags())
	return cmd
}

// serve runs the service until ctx ends, and then drains it.
func serve(ctx context.Context, c config, out io.Writer) error {
	// Who has stopped reading what the server says does not stop the server.
	signal.Ignore(syscall.SIGPIPE)
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	stdout, stderr := newOutput(out), newOutput(os.Stderr)
	defer closeOutputs(stdout, stderr)
	p := program{config: c, out: stdout, logger: c.logger(stderr), registry: prometheus.NewRegistry(), hangups: hangups}
	p.logOnly(stderr)
	p.stderr = stderr
	telemetry.RegisterBuild(p.registry, version())
	p.registry.MustRegister(collectors.NewGoCollector(liveHeap), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	// Without a memory limit in sight the runtime's default is right.
	_, _ = memlimit.SetGoMemLimitWithOpts(memlimit.WithProvider(goMemory), memlimit.WithLogger(slog.New(slog.DiscardHandler)))
	tuneGC()
	return p.serve(ctx)
}

// program is the service as it runs in this process.
type program struct {
	config
	database database
	out      io.Writer // Takes the banner.
	logger   *slog.Logger
	registry *prometheus.Registry
	hangups  <-chan os.Signal
	stderr   *output          // Takes the log.
	auth     *auth.Authorizer // Nil where everybody is let in.
	audit    *audit.Log       // Nil where there is none.
}

// logOnly has everything that is said go through the log, which writes to stderr.
func (p *program) logOnly(stderr *output) {
	stderr.onDropped = func(lines int64) {
		p.logger.Warn("lines of the log were dropped: nobody has read them", "lines", lines)
	}
	slog.SetDefault(p.logger)
	otel.SetErrorHandler(&traceErrors{logger: p.logger})
	otel.SetLogger(logr.FromSlogHandler(traceLog{p.logger.Handler()}))
	p.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "userd_log_lines_dropped_total", Help: "Lines of the log that nobody has read.",
	}, func() float64 { return float64(stderr.Dropped()) }))
}

// serve opens what the service needs, and runs it.
func (p *program) serve(ctx context.Context) (err error) {
	if p.database, err = parseDatabase("--database", p.config.database); err != nil {
		return err
	}
	certificate, err := p.certificate()
	if err != nil {
		return err
	}
	if p.auth, err = p.authorizer(p.logger, p.registry); err != nil {
		return err
	}
	if p.audit, err = p.auditLog(p.stderr); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.audit.Close()) }()
	config, err := p.openUsers(ctx)
	if err != nil {
		return err
	}
	users := config.Store
	defer func() { err = errors.Join(err, users.Close()) }()
	stopTracing, err := tracing(ctx, &config, p.registry)
	if err != nil {
		return cli.Wrong(err)
	}
	defer stopTracing()
	p.maxConnections = p.fitConnections(users.Capacity())
	p.configure(&config)
	if certificate != nil {
		certificate.registerMetrics(p.registry)
		certificate.check(p.logger, time.Now(), p.allowedHosts)
		config.TLS = certificate.tls()
		config.AllowedHosts = slices.Concat(config.AllowedHosts, certificate.leaf().DNSNames)
	}
	srv, err := server.New(config)
	if err != nil {
		return err
	}
	return p.run(ctx, srv, users, certificate)
}

// openUsers opens the store and the cache before it, if there is to be one.
func (p *program) openUsers(ctx context.Context) (server.Config, error) {
	opened, err := p.database.openWhole(ctx, p.logger)
	if err != nil {
		return server.Config{}, err
	}
	telemetry.RegisterStore(p.registry, opened.Stats)
	operations := telemetry.NewOperations(p.registry)
	admitted := admission.New(operations.MeasureStore(opened, p.database.system()), p.logger)
	admitted.CallerOf = edge.CallerOf
	telemetry.RegisterAdmission(p.registry, admitted.Stats)
	config := server.Config{
		Store: admitted,
		Refuse: func(ctx context.Context, remote string) error {
			return admitted.Refuse(edge.CallerFrom(ctx, remote), admission.Lookup)
		},
		Admit: func(ctx context.Context) (context.Context, server.Admitted, error) { return admitted.Stream(ctx) },
	}
	if p.cacheMaxEntries == 0 {
		return config, nil
	}
	settings := p.cache(p.logger)
	if p.redis != "" {
		settings.Observe = operations.ObserveRedis()
	}
	cached, err := cache.New(admitted, settings)
	if err != nil {
		return server.Config{}, errors.Join(redisError(err), admitted.Close())
	}
	telemetry.RegisterCache(p.registry, cached.Stats, p.redis != "")
	config.Store, config.Reader = cached, cached
	return config, nil
}

// configure sets what the flags say, and where the log and the metrics go.
func (p *program) configure(config *server.Config) {
	c := p.config
	config.Logger = p.logger
	config.Registry = p.registry
	config.Auth = p.auth
	config.Audit = p.audit
	config.MaxMessageBytes = c.maxMessageBytes
	config.HTTP2 = server.Transport(c.http2)
	config.MaxConnections = c.maxConnections
	config.MaxConnectionAge = c.maxConnectionAge
	config.MaxStreamsPerPrincipal = c.maxStreamsPerPrincipal
	config.MaxStreamsPerAddress = c.maxStreamsPerAddress
	config.MaxConcurrentStreams = c.maxConcurrentStreams
	config.SendTimeout = c.sendTimeout
	config.ShutdownDelay = c.shutdownDelay
	config.IdleTimeout = c.idleTimeout
	config.CORSOrigins = c.corsOrigins
	config.AllowedHosts = c.allowedHosts
	config.Profiles = c.pprof
	config.Console = c.console
	config.LoginResolution = loginResolution(c.loginResolution)
}

// fitConnections is how many connections the server takes. It says so if that is not what
// was asked for.
func (p *program) fitConnections(capacity store.Capacity) int {
	files := maxOpenFiles()
	fit := fitConnections(p.config.maxConnections, files, capacity)
	if fit < p.config.maxConnections {
		p.logger.Warn("fewer connections than --max-connections: raise the limit of open files (ulimit -n)",
			"connections", fit, "max_connections", p.config.maxConnections, "open_files", files)
	}
	return fit
}

// loginResolution is the flag's value as server.Config has it, where 0 stands for
// the default.
func loginResolution(flag time.Duration) time.Duration {
	if flag == 0 {
		return -1
	}
	return flag
}

// run listens, says so, and serves until ctx ends.
func (p *program) run(ctx context.Context, srv *server.Server, users store.Store, certificate *certificate) error {
	c, logger := p.config, p.logger
	listener, err := listen("--listen", c.listen)
	if err != nil {
		return err
	}
	defer listener.Close()
	group, ctx := errgroup.WithContext(ctx)
	admin, err := serveAdmin(group, c.adminListen, srv)
	if err != nil {
		return err
	}
	group.Go(func() error { return srv.Serve(listener) })
	background := func(name string, task func()) {
		group.Go(func() error {
			guard.Loop(ctx, logger, name, task)
			return nil
		})
	}
	background("return memory", func() { returnMemory(ctx) })
	background("prune", func() { prune(ctx, users, c.changesRetention, logger) })
	group.Go(func() error {
		<-ctx.Done()
		return shutdown(ctx, srv, c, logger)
	})
	if p.auth != nil {
		background("read callers again", func() { p.auth.Watch(ctx) })
		background("fetch keys again", func() { p.auth.WatchIssuer(ctx) })
	}
	background("read again", func() { p.reload(ctx, certificate) })
	if c.wantsBanner() {
		writeBanner(p.out, c, p.database, listener.Addr(), admin)
	}
	logger.Info("serving", "version", version(), "listen", listener.Addr().String(), "admin", addressOf(admin), "max_connections", c.maxConnections)
	return group.Wait()
}

func listen(flag, address string) (net.Listener, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return listener, nil
}

// serveAdmin has the server serve its admin listener, and returns where, or nil where
// the address is empty.
func serveAdmin(group *errgroup.Group, address string, srv *server.Server) (net.Addr, error) {
	if address == "" {
		return nil, nil
	}
	listener, err := listen("--admin-listen", address)
	if err != nil {
		return nil, err
	}
	group.Go(func() error { return srv.ServeAdmin(listener) })
	return listener.Addr(), nil
}

// shutdown drains the server. Calls that take longer than the timeout are cut off;
// that is what the timeout is for, and no failure.
func shutdown(ctx context.Context, srv *server.Server, c config, logger *slog.Logger) error {
	logger.Info("stopping", "delay_seconds", c.shutdownDelay.Seconds(), "timeout_seconds", c.shutdownTimeout.Seconds())
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.shutdownDelay+c.shutdownTimeout)
	defer cancel()
	err := srv.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		logger.Warn("stopped with calls under way")
		return nil
	}
	return err
}

// prune removes old changes from the log from time to time, until ctx ends.
func prune(ctx context.Context, users store.Store, retention time.Duration, logger *slog.Logger) {
	pruner := store.Pruner{Store: users, Retention: retention}
	ticker := time.NewTicker(pruneInterval)
	defer ticker.Stop()
	for {
		removed, err := pruner.Prune(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			logger.Warn("old changes are not removed", "error", err)
		} else if removed > 0 {
			logger.Info("removed old changes", "count", removed)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}
