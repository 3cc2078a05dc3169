package load

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const (
	frameHeader = 9
	// maxFrame is the largest frame payload; RFC 9113 gives it to those who do not
	// ask for more.
	maxFrame = 16 << 10
	// headerTable is the size of the HPACK table when nobody asks for another.
	headerTable = 4096
	// protocolWindow is the flow control window that RFC 9113 starts with.
	protocolWindow = 65_535
	// streamWindow is what a server may send on a stream before we take it.
	streamWindow = 1 << 20
	// connWindow is the same for all streams together. It is never in the way.
	connWindow = 1 << 30
	dialWait   = 10 * time.Second
)

var errClosed = errors.New("the connection is closed")

// h2Conn is the client's end of an HTTP/2 connection. Requests are appended to a
// buffer and leave with the next flush, many in one system call. One goroutine
// reads: it takes all the frames that one read has brought and then flushes what
// the answers have given rise to.
//
// The fields below mu are guarded by it. Callbacks of streams run with mu held.
type h2Conn struct {
	conn      net.Conn
	authority string
	window    int // Stream window that the peer is given.
	in        *bufio.Reader
	decoder   *hpack.Decoder
	stopped   chan struct{} // Closed when the reader has ended.

	mu          sync.Mutex
	sendable    *sync.Cond // Some send window has grown, or the connection is gone.
	err         error
	now         time.Duration // When the frames at hand were read.
	out, spare  bytes.Buffer
	writing     bool
	framer      *http2.Framer // Writes to out; only the reader reads.
	encoder     *hpack.Encoder
	block       bytes.Buffer // What encoder writes to.
	blocks      map[*header][]byte
	introduced  map[*header]bool
	tableIsFull bool // The peer's HPACK table is the usual one.

	next          uint32
	streams       map[uint32]*stream
	idle          []*stream
	current       *stream // Stream of the header block that is being decoded.
	endsStream    bool    // That block ends its stream.
	sendWindow    int64
	initialWindow int64 // Send window of new streams.
	maxStreams    int
	waiting       []*stream // Requests that wait for the connection's send window.
	received      int
}

// dialH2 connects and waits for the peer's settings.
func dialH2(address string, window int) (*h2Conn, error) {
	conn, err := net.DialTimeout("tcp", address, dialWait)
	if err != nil {
		return nil, err
	}
	c := &h2Conn{
		conn: conn, authority: address, window: window, in: bufio.NewReaderSize(conn, 4*(frameHeader+maxFrame)),
		stopped: make(chan struct{}),
		blocks:  make(map[*header][]byte), introduced: make(map[*header]bool), tableIsFull: true,
		next: 1, streams: make(map[uint32]*stream),
		sendWindow: protocolWindow, initialWindow: protocolWindow, maxStreams: math.MaxInt32,
	}
	c.sendable = sync.NewCond(&c.mu)
	c.framer = http2.NewFramer(&c.out, c.in)
	c.framer.SetMaxReadFrameSize(maxFrame)
	c.framer.SetReuseFrames()
	c.encoder = hpack.NewEncoder(&c.block)
	c.decoder = hpack.NewDecoder(headerTable, func(f hpack.HeaderField) { c.current.header(f) })
	if err := c.greet(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("greet %s: %w", address, err)
	}
	go c.serve()
	return c, nil
}

// greet exchanges settings.
func (c *h2Conn) greet() error {
	if err := c.conn.SetDeadline(time.Now().Add(dialWait)); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out.WriteString(http2.ClientPreface)
	_ = c.framer.WriteSettings( // Writing to a buffer does not fail.
		http2.Setting{ID: http2.SettingEnablePush, Val: 0},
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(c.window)})
	_ = c.framer.WriteWindowUpdate(0, connWindow-protocolWindow)
	c.flush()
	frame, err := c.framer.ReadFrame()
	if _, ok := frame.(*http2.SettingsFrame); err == nil && !ok {
		err = fmt.Errorf("the first frame is %s", frame.Header())
	}
	if err == nil {
		err = c.handle(frame)
	}
	c.flush()
	return errors.Join(err, c.err, c.conn.SetDeadline(time.Time{}))
}

// serve reads until the connection ends.
func (c *h2Conn) serve() {
	defer close(c.stopped)
	for {
		frame, err := c.framer.ReadFrame()
		c.mu.Lock()
		c.now = clock()
		for err == nil {
			if err = c.handle(frame); err != nil || !c.ready() {
				break
			}
			frame, err = c.framer.ReadFrame()
		}
		if err != nil {
			c.fail(err)
			c.mu.Unlock()
			return
		}
		c.flush()
		c.mu.Unlock()
	}
}

// ready reports whether another frame can be read without a system call.
func (c *h2Conn) ready() bool {
	if c.in.Buffered() < frameHeader {
		return false
	}
	start, _ := c.in.Peek(4) // It is buffered.
	return c.in.Buffered() >= frameHeader+int(binary.BigEndian.Uint32(start)>>8)
}

// flush sends what is in the buffer. While one goroutine writes, the others only
// add to it. The caller holds mu, which is let go of during the system call.
func (c *h2Conn) flush() {
	if c.writing {
		return
	}
	c.writing = true
	for c.out.Len() > 0 && c.err == nil {
		c.out, c.spare = c.spare, c.out
		c.mu.Unlock()
		_, err := c.conn.Write(c.spare.Bytes())
		c.mu.Lock()
		c.spare.Reset()
		if err != nil {
			c.fail(err)
		}
	}
	c.writing = false
}

// fail ends every stream. The first error is the one that is told.
func (c *h2Conn) fail(err error) {
	if c.err != nil {
		return
	}
	c.err = err
	c.conn.Close()
	for _, s := range c.streams {
		c.finish(s, err)
	}
	c.waiting = nil
}

func (c *h2Conn) close() {
	c.mu.Lock()
	c.fail(errClosed)
	c.mu.Unlock()
	<-c.stopped
}

// room is the number of streams that may be begun.
func (c *h2Conn) room() int {
	if c.err != nil {
		return 0
	}
	return c.maxStreams - len(c.streams)
}

// newStream returns a stream that has sent nothing.
func (c *h2Conn) newStream() *stream {
	s := new(stream)
	if n := len(c.idle); n > 0 {
		s, c.idle = c.idle[n-1], c.idle[:n-1]
	}
	s.conn = c
	return s
}

// open sends the headers of a request.
func (c *h2Conn) open(s *stream, h *header, path string, end bool) {
	s.id = c.next
	c.next += 2
	s.sendWindow = c.initialWindow
	c.streams[s.id] = s
	_ = c.framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: s.id, BlockFragment: c.encode(h, path), EndHeaders: true, EndStream: end,
	})
}

// request sends a whole request. Its body must fit into the windows that a server
// gives at first, as those of unary calls do.
func (c *h2Conn) request(s *stream, h *header, path string, body []byte) {
	if c.err != nil {
		s.done(s, c.err)
		return
	}
	c.open(s, h, path, len(body) == 0)
	if len(body) == 0 {
		return
	}
	if int64(len(body)) > c.initialWindow || len(body) > maxFrame {
		c.fail(fmt.Errorf("a request of %d bytes does not fit into the server's window", len(body)))
		return
	}
	s.body = append(s.body[:0], body...)
	c.waiting = append(c.waiting, s)
	c.sendWaiting()
}

// sendWaiting sends the bodies for which there is room in the connection's window.
func (c *h2Conn) sendWaiting() {
	for len(c.waiting) > 0 {
		s := c.waiting[0]
		if int64(len(s.body)) > c.sendWindow {
			return
		}
		c.waiting = c.waiting[1:]
		if c.streams[s.id] == s {
			c.sendWindow -= int64(len(s.body))
			_ = c.framer.WriteData(s.id, true, s.body)
		}
		s.body = s.body[:0]
	}
	c.waiting = nil
}

// encode returns the header block of a request. The first use of a header puts it
// into the peer's table, all later ones only refer to it, with the same bytes, until
// another header moves the table's entries.
func (c *h2Conn) encode(h *header, path string) []byte {
	if block, ok := c.blocks[h]; ok && path == "" {
		return block
	}
	c.block.Reset()
	for _, field := range h.fields {
		if field.Name == ":path" && path != "" {
			field = hpack.HeaderField{Name: ":path", Value: path, Sensitive: true}
		}
		if field.Name == ":authority" {
			field.Value = c.authority
		}
		_ = c.encoder.WriteField(field)
	}
	switch {
	case !c.introduced[h]:
		c.introduced[h] = true
		clear(c.blocks)
	case path == "" && c.tableIsFull:
		c.blocks[h] = bytes.Clone(c.block.Bytes())
	}
	return c.block.Bytes()
}

// finish ends a stream with err, or nil where it ended well.
func (c *h2Conn) finish(s *stream, err error) {
	delete(c.streams, s.id)
	s.done(s, err)
	c.sendable.Broadcast()
	s.reset()
	c.idle = append(c.idle, s)
}

func (c *h2Conn) handle(f http2.Frame) error {
	switch f := f.(type) {
	case *http2.DataFrame:
		c.handleData(f)
	case *http2.HeadersFrame:
		if c.current = c.streams[f.StreamID]; c.current == nil {
			c.current = new(stream) // The table must be kept up to date all the same.
		}
		c.endsStream = f.StreamEnded()
		return c.handleFragment(f.HeaderBlockFragment(), f.HeadersEnded())
	case *http2.ContinuationFrame:
		return c.handleFragment(f.HeaderBlockFragment(), f.HeadersEnded())
	case *http2.SettingsFrame:
		return c.handleSettings(f)
	case *http2.WindowUpdateFrame:
		c.handleWindowUpdate(f)
	case *http2.RSTStreamFrame:
		if s := c.streams[f.StreamID]; s != nil {
			c.finish(s, fmt.Errorf("stream reset: %s", f.ErrCode))
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			_ = c.framer.WritePing(true, f.Data)
		}
	case *http2.GoAwayFrame:
		if f.ErrCode != http2.ErrCodeNo || len(c.streams) > 0 {
			return fmt.Errorf("the server goes away: %s %q", f.ErrCode, f.DebugData())
		}
	}
	return nil
}

func (c *h2Conn) handleData(f *http2.DataFrame) {
	c.credit(f)
	s := c.streams[f.StreamID]
	if s == nil {
		return // Of a stream that has failed.
	}
	if err := s.data(f.Data()); err != nil {
		_ = c.framer.WriteRSTStream(s.id, http2.ErrCodeCancel)
		c.finish(s, err)
	} else if f.StreamEnded() {
		c.finish(s, s.verdict())
	}
}

// credit gives the peer's windows back what a DATA frame has used.
func (c *h2Conn) credit(f *http2.DataFrame) {
	c.received += int(f.Length)
	if c.received >= connWindow/2 {
		_ = c.framer.WriteWindowUpdate(0, uint32(c.received))
		c.received = 0
	}
	s := c.streams[f.StreamID]
	if s == nil || s.stalled {
		return
	}
	s.received += int(f.Length)
	if s.received >= c.window/2 && !f.StreamEnded() {
		_ = c.framer.WriteWindowUpdate(s.id, uint32(s.received))
		s.received = 0
	}
}

func (c *h2Conn) handleFragment(fragment []byte, last bool) error {
	if _, err := c.decoder.Write(fragment); err != nil {
		return fmt.Errorf("header block: %w", err)
	}
	if !last {
		return nil
	}
	if err := c.decoder.Close(); err != nil {
		return fmt.Errorf("header block: %w", err)
	}
	if s := c.current; c.endsStream && c.streams[s.id] == s {
		c.finish(s, s.verdict())
	}
	return nil
}

func (c *h2Conn) handleSettings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	if size, ok := f.Value(http2.SettingHeaderTableSize); ok {
		c.encoder.SetMaxDynamicTableSizeLimit(size)
		c.tableIsFull = size >= headerTable
	}
	if streams, ok := f.Value(http2.SettingMaxConcurrentStreams); ok {
		c.maxStreams = int(min(streams, math.MaxInt32))
	}
	if window, ok := f.Value(http2.SettingInitialWindowSize); ok {
		for _, s := range c.streams {
			s.sendWindow += int64(window) - c.initialWindow
		}
		c.initialWindow = int64(window)
		c.sendable.Broadcast()
	}
	return c.framer.WriteSettingsAck()
}

func (c *h2Conn) handleWindowUpdate(f *http2.WindowUpdateFrame) {
	if f.StreamID == 0 {
		c.sendWindow += int64(f.Increment)
		c.sendWaiting()
	} else if s := c.streams[f.StreamID]; s != nil {
		s.sendWindow += int64(f.Increment)
	}
	c.sendable.Broadcast()
}
