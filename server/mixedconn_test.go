package server_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// mixedCall is a request, field by field. Connections may write it in any way.
type mixedCall struct {
	fields, trailer []hpack.HeaderField
	body            string
	noBody          bool // HEADERS are its end.
}

func (m *mixedCall) add(name, value string) {
	m.fields = append(m.fields, hpack.HeaderField{Name: name, Value: value})
}

func (m *mixedCall) String() string { return fmt.Sprintf("%q %q %q", m.fields, m.body, m.trailer) }

// mixedAnswer is what has come of one.
type mixedAnswer struct {
	Header, Trailer []string
	Body            string
	Reset           string
}

// mixedStream is a call under way.
type mixedStream struct {
	id     uint32
	call   *mixedCall
	unsent []func() // Its frames.
	answer mixedAnswer
	begun  bool // The header of the answer is here.
	ended  bool
	reset  bool // By us: nobody wants the answer.
	window int  // Bytes that the server may send.
	owed   int  // Bytes received that were not given back.
}

// mixedConn is a connection on which many call, in frames that are cut, padded and ordered by
// chance.
type mixedConn struct {
	conn    net.Conn
	random  *rand.Rand
	plain   bool // Nothing is left to chance.
	done    func(*mixedStream)
	encoder *hpack.Encoder
	block   bytes.Buffer

	mu      sync.Mutex
	changed sync.Cond
	framer  *http2.Framer // To out.
	out     bytes.Buffer
	ripe    bool // out is to be written.
	streams map[uint32]*mixedStream
	nextID  uint32
	initial int  // The window of a stream, when it is opened.
	resized bool // That was another one before.
	owed    int
	err     error // Why the connection has ended.
}

// newMixedConn tells done of each call that has ended.
func newMixedConn(conn net.Conn, random *rand.Rand, plain bool, done func(*mixedStream)) *mixedConn {
	c := &mixedConn{conn: conn, random: random, plain: plain, streams: make(map[uint32]*mixedStream), nextID: 1, initial: 65535, done: done}
	c.changed.L = &c.mu
	c.encoder = hpack.NewEncoder(&c.block)
	c.framer = http2.NewFramer(&c.out, nil)
	c.framer.AllowIllegalWrites = true
	c.out.WriteString(http2.ClientPreface)
	if plain {
		_ = c.framer.WriteSettings()
	} else {
		c.initial = []int{65535, 65535, 1 << 20, 1000, 100, 1}[random.IntN(6)]
		_ = c.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(c.initial)})
	}
	go c.read()
	go c.write()
	return c
}

// flush has what there is written.
func (c *mixedConn) flush() {
	if c.out.Len() > 0 {
		c.ripe = true
		c.changed.Broadcast()
	}
}

// write writes what is ripe until the connection ends.
func (c *mixedConn) write() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.err == nil {
		if !c.ripe {
			c.changed.Wait()
			continue
		}
		b := bytes.Clone(c.out.Bytes())
		c.out.Reset()
		c.ripe = false
		c.changed.Broadcast()
		c.mu.Unlock()
		_, err := c.conn.Write(b)
		c.mu.Lock()
		if err != nil {
			c.fail(err)
		}
	}
}

func (c *mixedConn) fail(err error) {
	if c.err == nil {
		c.err = err
	}
	c.changed.Broadcast()
}

func (c *mixedConn) read() {
	framer := http2.NewFramer(nil, c.conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for {
		frame, err := framer.ReadFrame()
		c.mu.Lock()
		if err == nil {
			err = c.handle(frame)
		}
		if err != nil {
			c.fail(err)
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
	}
}

// handle takes a frame. c.mu is held.
func (c *mixedConn) handle(frame http2.Frame) error {
	s := c.streams[frame.Header().StreamID]
	switch f := frame.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			_ = c.framer.WriteSettingsAck()
			c.flush()
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			_ = c.framer.WritePing(true, f.Data)
			c.flush()
		}
	case *http2.GoAwayFrame:
		if f.ErrCode != 0 {
			return fmt.Errorf("GOAWAY %v %q", f.ErrCode, f.DebugData())
		}
	case *http2.MetaHeadersFrame:
		if s == nil {
			return fmt.Errorf("HEADERS on stream %d", f.StreamID)
		}
		c.receiveHeaders(s, f)
	case *http2.DataFrame:
		if s == nil {
			return fmt.Errorf("DATA on stream %d", f.StreamID)
		}
		return c.receiveData(s, f)
	case *http2.RSTStreamFrame:
		if s != nil && !s.ended {
			s.answer.Reset = f.ErrCode.String()
			c.end(s)
		}
	}
	return nil
}

func (c *mixedConn) receiveHeaders(s *mixedStream, f *http2.MetaHeadersFrame) {
	if f.PseudoValue("status") == "100" {
		return
	}
	var lines []string
	for _, field := range f.Fields {
		if field.Name != "date" {
			lines = append(lines, field.Name+": "+field.Value)
		}
	}
	slices.Sort(lines)
	if s.begun {
		s.answer.Trailer = lines
	} else {
		s.begun, s.answer.Header = true, lines
	}
	if f.StreamEnded() {
		c.end(s)
	}
}

func (c *mixedConn) receiveData(s *mixedStream, f *http2.DataFrame) error {
	n := int(f.Length)
	s.answer.Body += string(f.Data())
	s.window, s.owed, c.owed = s.window-n, s.owed+n, c.owed+n
	if s.window < 0 && !c.resized {
		return fmt.Errorf("DATA of %d bytes beyond the window", n)
	}
	if f.StreamEnded() {
		c.end(s)
	}
	c.grant(s)
	return nil
}

// grant gives back what was received, sooner or later.
func (c *mixedConn) grant(s *mixedStream) {
	if c.owed > 0 && (c.owed >= 16<<10 || c.random.IntN(4) == 0) {
		_ = c.framer.WriteWindowUpdate(0, uint32(c.owed))
		c.owed = 0
	}
	if !s.ended && s.owed > 0 && (2*s.owed >= c.initial || c.random.IntN(4) == 0) {
		n := s.owed
		if c.initial < 1000 && len(s.answer.Body) > 50 {
			n += c.random.IntN(30_000)
		}
		_ = c.framer.WriteWindowUpdate(s.id, uint32(n))
		s.window += n
		s.owed = 0
	}
	c.flush()
}

func (c *mixedConn) end(s *mixedStream) {
	s.ended = true
	c.changed.Broadcast()
	if !s.reset {
		c.done(s)
	}
}

// begin begins a call. What follows its header is sent in the turn of its stream.
func (c *mixedConn) begin(call *mixedCall) *mixedStream {
	s := &mixedStream{id: c.nextID, call: call, window: c.initial}
	c.nextID += 2
	c.streams[s.id] = s
	c.headers(s, call.fields, call.noBody)
	if call.noBody {
		return s
	}
	for body := []byte(call.body); len(body) > 0; {
		n := len(body)
		if !c.plain && c.random.IntN(2) == 0 {
			n = 1 + c.random.IntN(min(n, 40))
		}
		part := body[:n]
		body = body[n:]
		s.unsent = append(s.unsent, func() { c.data(s, part) })
	}
	s.unsent = append(s.unsent, func() {
		if call.trailer != nil {
			c.headers(s, call.trailer, true)
		} else {
			_ = c.framer.WriteData(s.id, true, nil) // Writing to a buffer does not fail; nor do others below.
		}
	})
	return s
}

// data sends a part of the body.
func (c *mixedConn) data(s *mixedStream, part []byte) {
	end := len(s.unsent) == 2 && s.call.trailer == nil && c.random.IntN(3) > 0
	if end {
		s.unsent = s.unsent[:1] // There is nothing else to be said.
	}
	if !c.plain && c.random.IntN(8) == 0 {
		_ = c.framer.WriteDataPadded(s.id, end, part, make([]byte, c.random.IntN(20)))
	} else {
		_ = c.framer.WriteData(s.id, end, part)
	}
}

// sendNext sends the next frame of a stream.
func (s *mixedStream) sendNext() {
	s.unsent[0]()
	s.unsent = s.unsent[1:]
}

// appendString appends a string as HPACK has it.
func appendString(b []byte, text string, huffman bool) []byte {
	const short, flag = 0x7f, 0x80
	first := byte(0)
	if huffman {
		first, text = flag, string(hpack.AppendHuffmanString(nil, text))
	}
	if len(text) < short {
		return append(append(b, first|byte(len(text))), text...)
	}
	b = binary.AppendUvarint(append(b, first|short), uint64(len(text)-short))
	return append(b, text...)
}

// headers sends a header, its fields in any of the forms of HPACK, and cut anywhere.
func (c *mixedConn) headers(s *mixedStream, fields []hpack.HeaderField, end bool) {
	c.block.Reset()
	if !c.plain && c.random.IntN(100) == 0 {
		c.encoder.SetMaxDynamicTableSize([]uint32{0, 100, 1000, 4096}[c.random.IntN(4)])
	}
	for _, f := range fields {
		switch way := c.random.IntN(20); {
		case c.plain:
			_ = c.encoder.WriteField(f)
		case f.Name == ":path" && strings.Contains(f.Value, "?") && way < 18: // As most clients do.
			c.block.WriteByte([]byte{0x04, 0x14, 0x05}[c.random.IntN(3)])
			c.block.Write(appendString(nil, f.Value, c.random.IntN(2) == 0))
		case way == 0 && c.block.Len() > 0: // Its name is a string, too.
			c.block.WriteByte([]byte{0, 0x10}[c.random.IntN(2)])
			c.block.Write(appendString(appendString(nil, f.Name, c.random.IntN(2) == 0), f.Value, c.random.IntN(2) == 0))
		default:
			_ = c.encoder.WriteField(f)
		}
	}
	const most = 16_000 // Of a frame, which may be padded.
	block := c.block.Bytes()
	param := http2.HeadersFrameParam{StreamID: s.id, EndStream: end}
	if !c.plain && c.random.IntN(10) == 0 {
		param.PadLength, param.Priority.Weight = uint8(c.random.IntN(200)), uint8(c.random.IntN(2))
	}
	cut := func() (part []byte) {
		n := min(most, len(block))
		if !c.plain && c.random.IntN(20) == 0 {
			n = c.random.IntN(n + 1)
		}
		part, block = block[:n], block[n:]
		return part
	}
	param.BlockFragment = cut()
	param.EndHeaders = len(block) == 0
	_ = c.framer.WriteHeaders(param)
	for len(block) > 0 {
		part := cut()
		_ = c.framer.WriteContinuation(s.id, len(block) == 0, part)
	}
}

// run makes the calls that next returns until that is nil, many at a time, and returns when they
// have ended, or why the connection has.
func (c *mixedConn) run(next func() *mixedCall) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer time.AfterFunc(30*time.Second, c.giveUp).Stop()
	var sending []*mixedStream
	most := 1 + c.random.IntN(60)
	for more := true; c.err == nil; {
		for c.err == nil && c.ripe && c.out.Len() > 32<<10 {
			c.changed.Wait()
		}
		sending = slices.DeleteFunc(sending, func(s *mixedStream) bool { return len(s.unsent) == 0 || s.ended })
		what := c.random.IntN(100)
		switch {
		case !more && len(sending) == 0:
			c.flush()
			for c.err == nil && c.open() > 0 {
				c.changed.Wait()
			}
			return c.err
		case what < 50 && more && c.open() < most:
			if call := next(); call != nil {
				sending = append(sending, c.begin(call))
			} else {
				more = false
			}
		case what < 85 && len(sending) > 0:
			sending[c.random.IntN(len(sending))].sendNext()
		case what >= 85 && !c.plain && c.random.IntN(2) == 0:
			c.disturb()
		case len(sending) == 0 && more && c.open() >= most:
			c.flush()
			c.changed.Wait()
		case what >= 85:
			c.flush()
		}
	}
	return c.err
}

// open is how many calls have not ended. Others are forgotten some time after.
func (c *mixedConn) open() (open int) {
	const late = 200
	for id, s := range c.streams {
		if !s.ended {
			open++
		} else if id+late < c.nextID && !s.reset {
			delete(c.streams, id)
		}
	}
	return open
}

// giveUp says which call does not end.
func (c *mixedConn) giveUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, s := range c.streams {
		if !s.ended {
			c.fail(fmt.Errorf("stream %d does not end: %d frames unsent, %d bytes received, window %d of %d, owed %d and %d: %v",
				id, len(s.unsent), len(s.answer.Body), s.window, c.initial, s.owed, c.owed, s.call))
		}
	}
	c.fail(errors.New("it takes too long"))
}

// disturb does something else than to make a call.
func (c *mixedConn) disturb() {
	switch c.random.IntN(20) {
	case 0, 1:
		for _, s := range c.streams {
			if !s.ended {
				s.reset, s.ended, s.unsent = true, true, nil
				_ = c.framer.WriteRSTStream(s.id, http2.ErrCodeCancel)
				return
			}
		}
	case 2:
		_ = c.framer.WritePing(false, [8]byte{1})
	case 3:
		_ = c.framer.WriteRawFrame(0xbe, 0, c.nextID, []byte("grease"))
	case 4:
		_ = c.framer.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: []uint32{0, 4096}[c.random.IntN(2)]},
			http2.Setting{ID: http2.SettingMaxFrameSize, Val: 16384 + uint32(c.random.IntN(1000))})
	case 5:
		c.resize([]int{65535, 1, 1000, 100_000}[c.random.IntN(4)])
	default:
		c.flush()
	}
}

// resize changes the windows of all streams.
func (c *mixedConn) resize(size int) {
	change := size - c.initial
	c.initial, c.resized = size, true
	_ = c.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(size)})
	for _, s := range c.streams {
		s.window += change
		if n := 1000 - s.window; !s.ended && n > 0 { // It may be less than none now.
			s.window += n
			_ = c.framer.WriteWindowUpdate(s.id, uint32(n))
		}
		c.grant(s)
	}
}

// connectionEnded is what a reset begins with that was none of the stream alone.
const connectionEnded = "the connection has ended: "

// oracle answers as net/http does, one call at a time.
type oracle struct {
	dial  func() net.Conn
	mu    sync.Mutex
	known map[string]mixedAnswer
	conn  *mixedConn
	last  *mixedStream
}

func (o *oracle) answer(call *mixedCall) mixedAnswer {
	o.mu.Lock()
	defer o.mu.Unlock()
	key := call.String()
	if known, ok := o.known[key]; ok {
		return known
	}
	var a mixedAnswer
	const often = 30
	if len(o.known)%often == 0 && o.conn != nil { // An address that shows many wrong credentials is answered late.
		_ = o.conn.conn.Close()
		o.conn = nil
	}
	for range 2 { // The call before may have ended the connection.
		if o.conn == nil {
			o.conn = newMixedConn(o.dial(), rand.New(rand.NewPCG(1, 1)), true, func(s *mixedStream) { o.last = s })
		}
		once := call
		o.last = nil
		err := o.conn.run(func() *mixedCall { c := once; once = nil; return c })
		if err == nil {
			a = o.last.answer
			break
		}
		a = mixedAnswer{Reset: fmt.Sprint(connectionEnded, err)}
		_ = o.conn.conn.Close()
		o.conn = nil
	}
	o.known[key] = normal(call, a)
	return o.known[key]
}

// normal is an answer without what differs each time.
func normal(call *mixedCall, a mixedAnswer) mixedAnswer {
	given := make(map[string]bool)
	for _, f := range call.fields {
		if f.Name == "x-request-id" {
			given[f.Value] = true
		}
	}
	a.Header = slices.DeleteFunc(a.Header, func(line string) bool {
		length, ok := strings.CutPrefix(line, "content-length: ")
		return ok && (length == fmt.Sprint(len(a.Body)) || call.fields[0].Value == "HEAD")
	})
	a.Body = strings.TrimSuffix(a.Body, "\n") // Of errors.
	for _, lines := range []*[]string{&a.Header, &a.Trailer} {
		for i, line := range *lines {
			id, ok := strings.CutPrefix(line, "x-request-id: ")
			if ok && !given[id] && uuid.Validate(id) == nil {
				(*lines)[i] = "x-request-id: made"
			}
		}
	}
	return a
}

// close closes its connection.
func (o *oracle) close() {
	if o.conn != nil {
		_ = o.conn.conn.Close()
	}
}
