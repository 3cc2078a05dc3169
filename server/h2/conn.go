package h2

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/http2"

	"github.com/example/userd/socket"
)

const (
	// closeTimeout bounds what a connection still writes, but for answers, and waits for its
	// peer to read it, when it is being closed.
	closeTimeout = time.Second
	// lingerBytes is how much of the peer's is thrown away meanwhile.
	lingerBytes = 1 << 20
	// goAwayDelay is how long a peer that does not answer the PING of a drain can
	// still open streams.
	goAwayDelay = time.Second
	// goAwayGrace is how long one that has answered can: what it was about to send on streams
	// that it had numbered comes behind the answer. Go's client cannot repeat a request whose
	// body it has from elsewhere, as a proxy has, when the last GOAWAY leaves that out.
	goAwayGrace = 100 * time.Millisecond
)

// drainPing comes back when the peer has read the first GOAWAY of a drain.
const drainPing = "draining"

// conn is a connection. Its reader, the goroutine that runs serve, parses frames
// and is the only one to open streams. Handlers and the watch of the server share
// what is below mu with it.
type conn struct {
	srv    *Server
	nc     net.Conn
	try    socket.TryWriter // nil where the connection is no socket.
	tls    *tls.ConnectionState
	remote string
	ctx    context.Context // Parent of the contexts of all requests.
	cancel context.CancelFunc

	// The reader's own.
	in         []byte // Read, and from parsed to filled not handled yet.
	parsed     int
	filled     int
	wanted     int // How large in should be for what has come of late, in bytes.
	maxFrame   int // Of the peer, in bytes.
	decoder    *decoder
	block      headerBlock
	routes     knownRoutes
	lastRouted *routed // Of the last header that had a route; nil before.
	budget     budget
	turnBegan  time.Time
	prefaced   bool // The preface has come.
	// knowsLimits is whether the peer has acknowledged our SETTINGS.
	knowsLimits bool

	mu      sync.Mutex
	changed sync.Cond // Signals out, flushing, running and writeErr.

	streams map[uint32]*stream // Not ended by both sides.
	lastID  uint32             // Highest stream that the peer has opened. Written by the reader.
	// cancellable is how many streams were opened that have not paid for an RST_STREAM.
	cancellable int
	// fruitless is how many streams were reset while they waited for a handler to end,
	// since the last one has.
	fruitless int
	// freePings is how many PING the streams that were reset pay for.
	freePings int
	running   int        // Handlers, those of closed streams included.
	waiting   []*stream  // For a handler to end, at most as many as may be open.
	resets    [32]uint32 // Streams reset of late, whose frames may still be on their way.
	resetNext int
	// stragglers is how many DATA frames may follow the RST_STREAM of their streams.
	stragglers int
	// unaware is how many bytes of DATA the peer may send on streams that were reset, before it
	// knows.
	unaware int

	encoder   *encoder
	maxHeader int    // Of what is sent, in bytes: the peer's limit or Config.MaxSentHeaderBytes.
	out       []byte // Frames that nobody has begun to write.
	tail      tail
	ready     []*stream // Wait for their turn to send, first come first served.
	gathering bool      // The reader handles a batch and flushes at its end.
	flushing  bool      // Somebody writes, or is about to.
	writing   time.Time // Since when, or zero.
	writeErr  error
	earned    int // Credit for the budget.
	// returnable is how many bytes of DATA the peer was sent and has not given back, to the
	// connection and to its streams.
	returnable int
	sendWindow int // Bytes that all streams may still send.
	peerWindow int // What the send window of a new stream is.
	// largestWindow is the largest that peerWindow was for a stream that is open: how much the
	// peer lets come together before it gives that back may be half of it.
	largestWindow int
	recvWindow    int // Bytes that the peer may still send on all streams.
	recvOwed      int // Bytes read, but not yet given back to the window.

	greeted     bool // The first SETTINGS have come. Written by the reader.
	lastRead    time.Time
	idleSince   time.Time
	headerSince time.Time // Since when the first SETTINGS or the rest of a header block are due, or zero.
	pinged      time.Time // When the PING under way was sent, or zero.
	draining    time.Time // When the first GOAWAY was sent, or zero.
	lastDue     time.Time // When the last one is to be, unless something else brings it; zero before the first.
	closing     bool      // The last GOAWAY was sent: new streams are ignored.
	fatal       error     // Why the connection must close, from another goroutine than the reader.
}

func newConn(s *Server, nc net.Conn) *conn {
	nc = socket.Wrap(nc)
	now := time.Now()
	c := &conn{
		srv: s, nc: nc, remote: nc.RemoteAddr().String(),
		in: getIn(0), maxFrame: maxFrameSize, decoder: newDecoder(s.config.MaxHeaderBytes),
		streams: make(map[uint32]*stream), encoder: newEncoder(),
		budget:     budget{credit: budgetBurst, at: now},
		maxHeader:  s.config.MaxSentHeaderBytes,
		sendWindow: initialWindow, peerWindow: initialWindow, largestWindow: initialWindow, recvWindow: s.config.ConnWindow,
		lastRead: now, idleSince: now, headerSince: now,
	}
	c.try, _ = nc.(socket.TryWriter)
	c.changed.L = &c.mu
	ctx := context.WithValue(context.Background(), http.LocalAddrContextKey, nc.LocalAddr())
	if s.config.ConnContext != nil {
		ctx = s.config.ConnContext(ctx, nc)
	}
	c.ctx, c.cancel = context.WithCancel(ctx)
	c.greet()
	return c
}

// greet prepares the first frames of the server, which others have to follow.
func (c *conn) greet() {
	c.gathering = true
	c.out = appendSettings(c.out,
		http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: uint32(c.srv.config.MaxConcurrentStreams)},
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(c.srv.config.StreamWindow)},
		// What is read to its end: a proxy that knew of a lower limit would fail the request
		// itself, and may count that as a failure of the server (Caddy does).
		http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: uint32(blockFactor * c.srv.config.MaxHeaderBytes)})
	c.out = appendNumber(c.out, http2.FrameWindowUpdate, 0, uint32(c.srv.config.ConnWindow-initialWindow))
}

// serve serves the connection to its end, and returns when its handlers have.
func (c *conn) serve() {
	err := checkTLS(c.tls)
	for err == nil {
		err = c.srv.guarded(c.remote, c.batch)
	}
	c.close(err)
	putIn(c.in)
}

// batch handles what is here, and reads more.
func (c *conn) batch() error {
	if err := c.frames(); err != nil {
		return err
	}
	c.flushBatch()
	c.yield()
	return c.fill()
}

// turn is how long a reader whose peer always has more may keep a core from the others. The
// scheduler would let it go on for ten times as long.
const turn = time.Millisecond

// yield lets other connections have their turn.
func (c *conn) yield() {
	if c.lastRead.Sub(c.turnBegan) >= turn {
		c.turnBegan = c.lastRead
		runtime.Gosched()
	}
}

// fill reads from the peer, unless there is too much that it has not read itself.
func (c *conn) fill() error {
	c.compact()
	n, err := c.nc.Read(c.in[c.filled:])
	c.filled += n
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.out) > outPause && c.writeErr == nil && c.fatal == nil {
		c.changed.Wait()
	}
	c.gathering = true
	c.lastRead, c.pinged = now, time.Time{}
	c.budget.refill(now, c.earned)
	c.earned = 0
	if c.fatal != nil {
		return c.fatal
	}
	if n > 0 {
		return nil
	}
	return err
}

// compact makes room for what comes next, in a buffer of the size that is wanted.
func (c *conn) compact() {
	rest, old := c.in[c.parsed:c.filled], c.in
	if size := inSizes[inClass(c.wanted)]; size > len(old) || size < len(old) && len(rest) == 0 {
		c.in = getIn(size)
		defer putIn(old)
	}
	c.filled = copy(c.in, rest)
	c.parsed = 0
}

// frames handles all frames that are here whole.
func (c *conn) frames() error {
	if !c.prefaced {
		if ok, err := c.readPreface(); !ok {
			return err
		}
	}
	handled := c.parsed
	c.wanted = min(c.filled+1, frameHeaderSize+maxFrameSize) // Whoever fills a buffer may have more.
	for c.filled-c.parsed >= frameHeaderSize {
		h := parseFrameHeader(c.in[c.parsed:])
		if h.length > c.maxFrame {
			return connectionError(http2.ErrCodeFrameSize, "frame is larger than SETTINGS_MAX_FRAME_SIZE")
		}
		c.wanted = max(c.wanted, frameHeaderSize+h.length)
		if c.filled-c.parsed < frameHeaderSize+h.length {
			break
		}
		payload := c.in[c.parsed+frameHeaderSize:][:h.length]
		c.parsed += frameHeaderSize + h.length
		if err := c.handleFrameError(c.frame(h, payload)); err != nil {
			return err
		}
	}
	c.noteHeaders(c.parsed > handled)
	return nil
}

// readPreface reports whether the preface of the peer is here, and takes it.
func (c *conn) readPreface() (bool, error) {
	n := min(c.filled, len(http2.ClientPreface))
	if string(c.in[:n]) != http2.ClientPreface[:n] {
		return false, connectionError(http2.ErrCodeProtocol, "invalid preface")
	}
	if n < len(http2.ClientPreface) {
		return false, nil
	}
	c.parsed, c.prefaced = n, true
	return true, nil
}

// noteHeaders lets the watch know of headers that come slowly.
func (c *conn) noteHeaders(progress bool) {
	rest := c.in[c.parsed:c.filled]
	partial := !c.greeted || c.block.stream != 0 || len(rest) > 0 && len(rest) < frameHeaderSize
	if len(rest) >= frameHeaderSize {
		kind := parseFrameHeader(rest).kind
		partial = partial || kind == http2.FrameHeaders || kind == http2.FrameContinuation
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !partial:
		c.headerSince = time.Time{}
	case c.headerSince.IsZero() || progress && c.block.stream == 0:
		c.headerSince = c.lastRead
	}
}

// handleFrameError resets the stream that an error is about, and returns the errors
// that are about the connection.
func (c *conn) handleFrameError(err error) error {
	if err == nil {
		return nil
	}
	wrong := new(frameError)
	if !errors.As(err, &wrong) || wrong.stream == 0 {
		return err
	}
	c.srv.stats.StreamErrors.Add(1)
	c.mu.Lock()
	cost := costControl
	if s := c.streams[wrong.stream]; s != nil {
		cost = costError
		s.reset(wrong.code, errStreamClosed)
	} else if !c.wasReset(wrong.stream) {
		c.out = appendNumber(c.out, http2.FrameRSTStream, wrong.stream, uint32(wrong.code))
		c.noteReset(wrong.stream)
	}
	if wrong.code == http2.ErrCodeStreamClosed && cost == costControl && c.stragglers > 0 {
		c.stragglers--
		cost = 0
	}
	c.mu.Unlock()
	if wrong.code == http2.ErrCodeRefusedStream && c.knowsLimits {
		cost = costRefused
	}
	return c.budget.spend(cost)
}

// noteReset remembers a stream that was reset. c.mu is held.
func (c *conn) noteReset(id uint32) {
	c.resets[c.resetNext%len(c.resets)] = id
	c.resetNext++
}

// wasReset reports whether frames of a closed stream may be there because the peer
// did not know. c.mu is held.
func (c *conn) wasReset(id uint32) bool {
	return slices.Contains(c.resets[:], id)
}

// isIdle reports whether a peer may send nothing but HEADERS and PRIORITY on a
// stream. Those that it opens after the last GOAWAY are closed instead.
func (c *conn) isIdle(id uint32) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return id%2 == 0 || id > c.lastID && !c.closing
}

// IdleSince implements [Conn].
func (c *conn) IdleSince() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.streams) > 0 || c.running > 0 || c.closing || !c.draining.IsZero() {
		return time.Time{}
	}
	return c.idleSince
}

// GoAway implements [Conn].
func (c *conn) GoAway() { c.startDrain() }

// startDrain asks the peer to go.
func (c *conn) startDrain() {
	c.mu.Lock()
	c.firstGoAway()
	c.unlockAndFlush()
}

// firstGoAway asks the peer to open no more streams, in a way that loses none that it is
// just opening: the last GOAWAY follows when the peer has had this one for a moment. c.mu is held.
func (c *conn) firstGoAway() {
	if c.draining.IsZero() && !c.closing {
		c.draining = time.Now()
		c.lastDue = c.draining.Add(goAwayDelay)
		c.out = appendGoAway(c.out, maxStreamID, http2.ErrCodeNo, "")
		c.out = appendFrame(c.out, http2.FramePing, 0, 0, []byte(drainPing))
	}
}

// lastGoAway tells the peer which streams will be served to their end, after which
// the connection closes. c.mu is held.
func (c *conn) lastGoAway() {
	if c.closing {
		return
	}
	c.closing = true
	c.out = appendGoAway(c.out, c.lastID, http2.ErrCodeNo, "")
	c.closeWhenDone()
}

// closeWhenDone closes a connection that is going away and has nothing left to do.
// c.mu is held.
func (c *conn) closeWhenDone() {
	if c.closing && len(c.streams) == 0 {
		c.fail(connectionError(http2.ErrCodeNo, ""))
	}
}

// fail makes the reader close the connection. c.mu is held.
func (c *conn) fail(err error) {
	if c.fatal != nil {
		return
	}
	c.fatal = err
	c.changed.Broadcast()
	_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // Wakes the reader. A connection without deadlines is gone.
}

// close ends the connection because of err. It says why to the peer, if the peer
// is still there, and waits for the handlers.
func (c *conn) close(err error) {
	wrong := new(frameError)
	answer := errors.As(err, &wrong)
	limit := closeTimeout
	c.mu.Lock()
	if c.closing && len(c.streams) == 0 {
		limit = max(limit, c.srv.config.WriteTimeout) // What is left are answers.
	}
	if answer && (wrong.code != http2.ErrCodeNo || !c.closing) {
		c.out = appendGoAway(c.out, c.lastID, wrong.code, wrong.reason)
	}
	c.closing = true
	for _, s := range c.streams {
		s.close(errClientGone)
	}
	c.gathering = false
	c.mu.Unlock()
	if wrong.code != http2.ErrCodeNo {
		c.srv.stats.ConnectionErrors.Add(1)
	}
	if wrong.code == http2.ErrCodeEnhanceYourCalm {
		c.srv.stats.Floods.Add(1)
	}
	c.cancel()
	_ = c.nc.SetWriteDeadline(time.Now().Add(limit))
	c.finishWriting()
	if answer {
		c.linger()
	}
	_ = c.nc.Close() // There is nobody left to tell.
	c.mu.Lock()
	for c.running > 0 || c.flushing {
		c.changed.Wait()
	}
	c.mu.Unlock()
}

// finishWriting writes what is left, or waits for whom does.
func (c *conn) finishWriting() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mustFlush() {
		c.mu.Unlock()
		c.drain(nil)
		c.mu.Lock()
	}
	for c.flushing {
		c.changed.Wait()
	}
}

// linger lets the peer read the last frames: a socket that is closed with data
// unread takes them away again.
func (c *conn) linger() {
	if half, ok := c.nc.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
		return
	}
	_ = c.nc.SetReadDeadline(time.Now().Add(closeTimeout)) // Else the copy below ends at once.
	_, _ = io.Copy(io.Discard, io.LimitReader(c.nc, lingerBytes))
}
