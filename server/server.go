package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"connectrpc.com/grpcreflect/v2"
	"connectrpc.com/validate"
	"golang.org/x/sync/errgroup"

	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/gen/userd/admin/v1/adminv1connect"
	"github.com/example/userd/server/auth"
	"github.com/example/userd/server/body"
	"github.com/example/userd/server/connections"
	"github.com/example/userd/server/console"
	"github.com/example/userd/server/edge"
	"github.com/example/userd/server/failure"
	"github.com/example/userd/server/gather"
	"github.com/example/userd/server/h2"
	"github.com/example/userd/server/lane"
	"github.com/example/userd/server/openapi"
	"github.com/example/userd/server/packing"
	"github.com/example/userd/server/rules"
	"github.com/example/userd/server/status"
	"github.com/example/userd/server/telemetry"
	"github.com/example/userd/server/users"
	"github.com/example/userd/server/webtext"
	"github.com/example/userd/server/wire"
)

// Server serves user.v1.UserService and userd.admin.v1.StatusService.
type Server struct {
	config   Config
	users    *users.Service
	calls    *telemetry.Calls
	rules    rules.Validator
	rpc      *connect.Server
	http     *edge.Server
	admin    *edge.Server
	lane     *lane.Lane
	engine   *h2.Server // Serves HTTP/2, if it is not nil.
	hosts    *edge.AllowedHosts
	refusals *edge.Refusals
	ready    context.Context // Ends when the server is about to stop.
	unready  context.CancelFunc
	answers  *readiness
	running  context.Context // Ends when the server begins to stop.
	drain    context.CancelCauseFunc

	budget      *packing.Budget
	connections *connections.Limiter
	streams     *edge.StreamLimit
	arrivals    *body.Arrivals
}

// New returns a server. It serves nothing until Serve.
func New(config Config) (*Server, error) {
	s := &Server{config: config.withDefaults(), rules: rules.New()}
	s.ready, s.unready = context.WithCancel(context.Background())
	s.answers = newReadiness(s.config.Store.Ping)
	s.running, s.drain = context.WithCancelCause(context.Background())
	s.connections = connections.New(connections.Config{
		Most: s.config.MaxConnections, Unread: s.unread(),
		MaxAge: s.config.MaxConnectionAge, Running: s.running, TooOld: failure.ErrConnectionAge,
		TLS: s.config.TLS != nil, Logger: s.config.Logger,
	})
	s.config.Registry.MustRegister(s.connections)
	s.budget = packing.NewBudget(budgetBytes(s.config.MaxMessageBytes))
	s.arrivals = body.NewArrivals(s.config.ReceiveTimeout)
	s.streams = edge.NewStreamLimit(s.config.MaxStreamsPerPrincipal, s.config.MaxStreamsPerAddress, roomForStreams(), s.config.Registry)
	s.hosts = edge.NewAllowedHosts(s.config.AllowedHosts, s.config.Registry)
	s.refusals = edge.NewRefusals(s.config.Registry)
	telemetry.RegisterPanics(s.config.Registry)
	telemetry.RegisterLargeMessages(s.config.Registry, s.budget.Stats)
	var err error
	if s.users, err = users.New(users.Config{
		Store:           s.config.Store,
		Reader:          s.config.Reader,
		Admit:           s.config.Admit,
		Invalid:         failure.NewInvalidUsers(s.config.Registry, s.config.Logger),
		Audit:           s.config.Audit,
		LoginResolution: max(s.config.LoginResolution, 0),
		Now:             s.config.Now,
		Running:         s.runningFor,
		Logger:          s.config.Logger,
	}); err != nil {
		return nil, err
	}
	telemetry.RegisterWatchers(s.config.Registry, s.users.Watchers)
	if s.rpc, err = s.rpcServer(); err != nil {
		return nil, err
	}
	s.lane = s.newLane(s.rpc)
	handler := s.handler(s.rpc)
	s.http = s.httpServer(handler)
	s.admin = s.boundedServer(edge.AbortBegun(s.config.Logger)(s.Admin()))
	if err := s.chooseHTTP2(handler); err != nil {
		return nil, err
	}
	return s, nil
}

// handler is what the service's listener serves, behind all that a request passes, the
// first first. Unary calls on streams of package h2 that have come whole pass none of it:
// lane.Route looks at their host and their credentials, and leaves to this chain what one of these has to see.
func (s *Server) handler(rpc *connect.Server) http.Handler {
	kinds := streamTypes(rpc)
	compressors := packing.MeasuredCompressors(s.config.MaxMessageBytes, s.budget)
	passes := []edge.Middleware{
		s.hosts.Handler(asksHealth(scopes(kinds))),
		s.console(), // Its files need no credentials.
		edge.AllowOrigins(s.config.CORSOrigins, []string{"Etag", telemetry.RequestIDHeader, users.PageTokenTrailer}),
		openapi.Handler(s.config.SendTimeout), // It says what the schema says, to anybody.
		s.answerOptions,
		edge.FoldMediaType,
		edge.AnswerHead(kinds),
		edge.Authorize(s.config.Auth, scopes(kinds), kinds), // Nothing of a body has been read yet.
		edge.LimitStreams(s.streams, kinds),
		body.RefuseSlow(kinds, s.arrivals),
		s.lane.Handler, // Unary calls that have come whole leave for the interceptors here.
		edge.AbortBegun(s.config.Logger),
		edge.FinishErrors(kinds),
		webtext.Translate,
		edge.FoldCompressions,
		edge.RefuseBadHeaders(rpc, wire.Codecs(), compressors, s.refusals),
		body.Count(kinds, func(r *http.Request, cut, unread func()) (context.Context, body.Hold) {
			return s.budget.Begin(r.Context(), edge.CallerFrom(r.Context(), r.RemoteAddr), cut, unread)
		}),
		body.CheckFrames(s.rowLimits(rpc)),
		body.AwaitMessages(kinds, s.arrivals),
		gather.Streams(kinds, s.config.SendTimeout),
	}
	if s.config.HTTP2 == Std {
		passes = slices.Insert(passes, 0, edge.LimitAnswers(kinds, s.config.SendTimeout))
	}
	handler := s.mount(rpc, compressors)
	for _, pass := range slices.Backward(passes) {
		handler = pass(handler)
	}
	return handler
}

// console is the page for people, if there is to be one.
func (s *Server) console() edge.Middleware {
	if !s.config.Console {
		return func(next http.Handler) http.Handler { return next }
	}
	return console.Handler(s.config.SendTimeout)
}

// interceptors are what a call passes then, whichever way it came, before the handlers of
// package users.
func (s *Server) interceptors() ([]connect.ServerInterceptor, error) {
	encoder := gather.Encoder{Size: wire.EncodedSize, Append: wire.AppendEncoded}
	interceptors := []connect.ServerInterceptor{body.DecodeAtHand(wire.DecodeKnown), encoder.SendEncoded}
	if s.config.Tracer != nil {
		traces, err := telemetry.TraceInterceptor(s.config.Tracer, s.config.Sampler)
		if err != nil {
			return nil, fmt.Errorf("set up tracing: %w", err)
		}
		interceptors = append(interceptors, traces)
	}
	return append(interceptors,
		s.calls.Interceptor,
		edge.NoteTooLarge,
		failure.Interceptor(s.config.Logger, s.users.Invalid),
		edge.TellRevoked,
		gather.SendAll,
		validate.NewServerInterceptor(validate.WithValidator(s.rules), validate.WithoutErrorDetails()),
		s.users.Interceptor), nil
}

// rpcServer is the Connect server: interceptors and handlers.
func (s *Server) rpcServer() (*connect.Server, error) {
	s.calls = telemetry.NewCalls(s.config.Registry, s.config.Logger)
	interceptors, err := s.interceptors()
	if err != nil {
		return nil, err
	}
	rpc := connect.NewServer(interceptors...)
	userv1connect.RegisterUserServiceHandler(rpc, s.users)
	adminv1connect.RegisterStatusServiceHandler(rpc, status.New(status.Config{Metrics: s.config.Registry, Running: s.runningFor}))
	if s.config.Register != nil {
		s.config.Register(rpc)
	}
	if err := s.registerHealth(rpc); err != nil {
		return nil, fmt.Errorf("set up health checks: %w", err)
	}
	grpcreflect.Register(rpc)
	for spec := range rpc.Specs() {
		s.calls.Expect(spec)
	}
	if s.config.Auth != nil {
		s.calls.CountAccepted(s.config.Registry)
	}
	rpc.SetUnknownHandler(func(context.Context, connect.Spec, connect.ServerStream) error {
		return failure.New(failure.UnknownMethod)
	})
	return rpc, nil
}

// mount puts the Connect server and the probes at their paths.
func (s *Server) mount(rpc *connect.Server, compressors []connect.Compressor) http.Handler {
	mux := http.NewServeMux()
	rows := []connecthttp.Option{
		connecthttp.WithCompressors(packing.Compressors()...),
		connecthttp.WithReadMaxBytes(s.maxRowBytes()),
	}
	connecthttp.Mount(mux, rpc,
		connecthttp.WithCodecs(wire.Codecs()...),
		connecthttp.WithCompressors(compressors...),
		connecthttp.WithCompressMinBytes(packing.CompressMinBytes),
		connecthttp.WithReadMaxBytes(s.config.MaxMessageBytes),
		connecthttp.WithConditionalOptions(func(spec connect.Spec) []connecthttp.Option {
			if takesRows(spec) {
				return rows
			}
			return nil
		}))
	s.mountProbes(mux)
	mux.HandleFunc("/", s.refusals.UnknownPaths)
	return mux
}

// newLane is the fast way for unary calls, with the options that connecthttp has in mount.
func (s *Server) newLane(rpc *connect.Server) *lane.Lane {
	return lane.New(lane.Config{
		Server:           rpc,
		AllowsHost:       s.hosts.Allows,
		Authorize:        s.authorize(),
		Codecs:           wire.Codecs(),
		Compressors:      packing.Compressors(),
		CompressMinBytes: packing.CompressMinBytes,
		ReadMaxBytes:     s.config.MaxMessageBytes,
		Refuse:           s.refuser(),
		Ready: func(ctx context.Context, call *connect.CallInfo, message []byte) (context.Context, lane.Request, bool) {
			return s.users.AtHand(ctx, call, message)
		},
		Count:   s.countAnswer,
		IsLarge: wire.IsLarge,
	})
}

// scopes are what requests need, by path. Those for nothing that is there need no scope, but
// a caller who is known: others are not told what is there.
func scopes(kinds map[string]connect.StreamType) func(path string) auth.Scope {
	return func(path string) auth.Scope {
		if _, known := kinds[path]; known {
			return auth.ScopeOf(path)
		}
		if isProbe(path) {
			return auth.Public
		}
		return auth.AnyPrincipal
	}
}

// authorize lets in calls on the lane, or is nil where all are let in.
func (s *Server) authorize() func(context.Context, string, []string, *tls.ConnectionState) lane.Permit {
	if s.config.Auth == nil {
		return nil
	}
	return func(ctx context.Context, procedure string, authorization []string, state *tls.ConnectionState) lane.Permit {
		grant, refusal := s.config.Auth.Recall(ctx, auth.ScopeOf(procedure), authorization, state)
		if refusal != nil {
			return nil // edge.Authorize says why.
		}
		return grant
	}
}

// unread is how long something may wait on a connection that its peer does not read. Streams
// are ended before, and told why, where that is possible: see package gather.
func (s *Server) unread() time.Duration { return 2 * s.config.SendTimeout }

// runningFor ends when a call with this context is to that never ends by itself: when the server
// begins to stop, or its connection is as old as it may be.
func (s *Server) runningFor(ctx context.Context) context.Context {
	if running := connections.Running(ctx); running != nil {
		return running
	}
	return s.running
}

// takesRows reports whether an RPC takes a stream of rows, none of which is larger than
// wire.MaxRowBytes.
func takesRows(spec connect.Spec) bool {
	return spec.StreamType&connect.StreamTypeClient != 0 && failure.HasReasons(spec.Procedure)
}

// Bounds of what large messages may take that are not handled yet.
const (
	maxBudgetBytes = 64 << 20
	// memoryShare is the part of the memory limit of the process, if there is one. A
	// message takes about three times its size: received, unpacked and decoded.
	memoryShare = 8
)

const (
	// streamBytes is about what an open stream needs, and its part of its connection.
	streamBytes = 32 << 10
	// streamShare is the part of the memory limit that streams may need.
	streamShare = 3
	// leastStreams is what there is room for in any case.
	leastStreams = 256
)

// roomForStreams is how many streams there may be in all, for the memory limit.
func roomForStreams() int {
	limit := debug.SetMemoryLimit(-1) // It only tells.
	return max(int(min(limit/streamShare/streamBytes, math.MaxInt32)), leastStreams)
}

// budgetBytes has room for one message, as it has come and unpacked, in any case.
func budgetBytes(maxMessageBytes int) int {
	limit := debug.SetMemoryLimit(-1) // It only tells.
	return max(int(min(maxBudgetBytes, limit/memoryShare)), 2*maxMessageBytes)
}

func (s *Server) maxRowBytes() int { return min(wire.MaxRowBytes, s.config.MaxMessageBytes) }

// rowLimits are the sizes of the largest rows, by path.
func (s *Server) rowLimits(rpc *connect.Server) map[string]int {
	limits := make(map[string]int)
	for spec := range rpc.Specs() {
		if takesRows(spec) {
			limits[spec.Procedure] = s.maxRowBytes()
		}
	}
	return limits
}

// streamTypes are how many messages the RPCs send and take, by path.
func streamTypes(rpc *connect.Server) map[string]connect.StreamType {
	types := make(map[string]connect.StreamType)
	for spec := range rpc.Specs() {
		types[spec.Procedure] = spec.StreamType
	}
	return types
}

// Handler returns the handler of the service's listener.
func (s *Server) Handler() http.Handler { return s.http.Handler }

// Serve serves on the listener until Shutdown, which makes it return nil.
func (s *Server) Serve(listener net.Listener) error {
	return s.http.Run(listener, func(listener net.Listener) error {
		listener = s.connections.Listen(listener)
		switch {
		case s.config.TLS != nil:
			return s.http.ServeTLS(listener, "", "")
		case s.engine != nil:
			return s.http.Serve(s.engine.Listener(listener))
		default:
			return s.http.Serve(listener)
		}
	})
}

// ServeAdmin serves the Admin handler on a listener of its own until the end of
// Shutdown, which makes it return nil.
func (s *Server) ServeAdmin(listener net.Listener) error {
	admitted := connections.New(connections.Config{Most: AdminConnections, Unread: s.unread(), Logger: s.config.Logger})
	return s.admin.Run(listener, func(listener net.Listener) error {
		return s.admin.Serve(admitted.Listen(listener))
	})
}

// Shutdown stops the server: it is not ready any more, tells its peers to go away, and goes
// on for the ShutdownDelay. Then it takes no connections, ends watches, and waits for the
// other calls. What ServeAdmin serves stops last. When ctx ends first, the calls that are
// left are cut off and Shutdown returns the context's error.
func (s *Server) Shutdown(ctx context.Context) error {
	s.leave(ctx)
	s.drain(failure.ErrDraining)
	looking, stop := context.WithCancel(ctx)
	defer stop()
	go s.arrivals.Drain(looking)
	s.http.Stop()
	s.http.Leave() // A peer whose connection ended before Stop would open another one, which could be lost with the listener.
	if s.engine != nil {
		s.engine.Drain()
	}
	s.http.Await(ctx)
	var group errgroup.Group
	group.Go(func() error { return s.http.Finish(ctx) })
	if s.engine != nil {
		group.Go(func() error { return s.engine.Shutdown(ctx) })
	}
	err := group.Wait()
	s.users.Close()
	s.admin.Stop()
	s.admin.Await(ctx)
	return errors.Join(err, s.admin.Finish(ctx))
}

// leave tells those who look for it that the server is about to stop, and serves for as long
// as they may take to send others elsewhere. Peers over HTTP/2 that come meanwhile are not
// sent away again: they have found no other server yet.
func (s *Server) leave(ctx context.Context) {
	s.unready()
	s.admin.Leave()
	if s.config.ShutdownDelay <= 0 {
		return
	}
	s.http.Leave()
	if s.engine != nil {
		s.engine.GoAway()
	}
	select {
	case <-time.After(s.config.ShutdownDelay):
	case <-ctx.Done():
	}
}
