package h2

import (
	"encoding/binary"
	"errors"
	"time"

	"golang.org/x/net/http2"
)

// frame handles one frame.
func (c *conn) frame(h frameHeader, payload []byte) error {
	if err := c.checkPlace(h); err != nil {
		return err
	}
	if err := checkLength(h); err != nil {
		return err
	}
	switch h.kind {
	case http2.FrameData:
		return c.data(h, payload)
	case http2.FrameHeaders:
		return c.headersFrame(h, payload)
	case http2.FrameContinuation:
		return c.continuationFrame(h, payload)
	case http2.FrameSettings:
		return c.settingsFrame(h, payload)
	case http2.FrameWindowUpdate:
		return c.windowUpdateFrame(h, payload)
	case http2.FramePing:
		return c.pingFrame(h, payload)
	case http2.FrameRSTStream:
		return c.resetFrame(h)
	case http2.FrameGoAway: // The streams of a peer that goes away may end.
		c.mu.Lock()
		c.lastGoAway()
		c.mu.Unlock()
	case http2.FramePriority: // RFC 9113 gives it no meaning any more.
		if dependency(payload) == h.stream {
			return streamError(h.stream, http2.ErrCodeProtocol, "stream depends on itself")
		}
	}
	return c.budget.spend(costControl) // RFC 9113 section 5.5: unknown frames mean nothing.
}

// checkPlace refuses frames that must not stand where they do.
func (c *conn) checkPlace(h frameHeader) error {
	wrong := false
	switch h.kind {
	case http2.FrameSettings, http2.FramePing, http2.FrameGoAway:
		wrong = h.stream != 0
	case http2.FrameWindowUpdate:
		wrong = h.stream != 0 && c.isIdle(h.stream)
	case http2.FrameData:
		wrong = c.isIdle(h.stream)
	case http2.FrameRSTStream:
		wrong = c.isIdle(h.stream) && !c.mayBeTakenBack(h.stream)
	case http2.FrameHeaders:
		wrong = h.stream%2 == 0
	case http2.FramePriority:
		wrong = h.stream == 0
	case http2.FrameContinuation:
		wrong = c.block.stream == 0
	case http2.FramePushPromise:
		wrong = true
	}
	switch {
	case c.block.stream != 0 && (h.kind != http2.FrameContinuation || h.stream != c.block.stream):
		return connectionError(http2.ErrCodeProtocol, h.kind.String()+" between a header block's parts")
	case !c.greeted && (h.kind != http2.FrameSettings || h.flags.Has(http2.FlagSettingsAck)):
		return connectionError(http2.ErrCodeProtocol, "first frame is not SETTINGS")
	case wrong:
		return connectionError(http2.ErrCodeProtocol, h.kind.String()+" on a stream that cannot have it")
	}
	return nil
}

// checkLength refuses frames that are too long or too short for what they are.
func checkLength(h frameHeader) error {
	ok := true
	switch h.kind {
	case http2.FrameSettings:
		ok = h.length%settingSize == 0 && (h.length == 0 || !h.flags.Has(http2.FlagSettingsAck))
	case http2.FramePing:
		ok = h.length == 8
	case http2.FrameGoAway:
		ok = h.length >= 8
	case http2.FrameRSTStream, http2.FrameWindowUpdate:
		ok = h.length == 4
	case http2.FramePriority:
		if h.length != priorityFieldSize {
			return streamError(h.stream, http2.ErrCodeFrameSize, "PRIORITY is not 5 bytes long")
		}
	}
	if !ok {
		return connectionError(http2.ErrCodeFrameSize, h.kind.String()+" of a length that it cannot have")
	}
	return nil
}

func (c *conn) data(h frameHeader, payload []byte) error {
	data, err := unpad(h, payload)
	if err != nil {
		return err
	}
	end := h.flags.Has(http2.FlagDataEndStream)
	if len(data) == 0 && !end {
		if err := c.budget.spend(costControl); err != nil {
			return err
		}
	}
	c.mu.Lock()
	if h.length == maxFrameSize && c.maxFrame == maxFrameSize {
		c.maxFrame = maxLongFrame
		c.out = appendSettings(c.out, http2.Setting{ID: http2.SettingMaxFrameSize, Val: maxLongFrame})
	}
	s := c.streams[h.stream]
	if err = c.take(s, h); err != nil || s == nil {
		c.giveBack(h.length)
		c.mu.Unlock()
		return err
	}
	c.giveBack(h.length - len(data))
	s.giveBack(h.length - len(data))
	err = s.receive(data, end)
	work := s.work
	c.mu.Unlock()
	if err == nil {
		work.progress()
	}
	return err
}

func (c *conn) settingsFrame(h frameHeader, payload []byte) error {
	if h.flags.Has(http2.FlagSettingsAck) {
		c.knowsLimits = true
		return c.budget.spend(costControl)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.greeted = true
	// What new windows let go comes after the acknowledgement, which tells why.
	c.out = appendFrameHeader(c.out, 0, http2.FrameSettings, http2.FlagSettingsAck, 0)
	for ; len(payload) > 0; payload = payload[settingSize:] {
		setting := http2.Setting{ID: http2.SettingID(binary.BigEndian.Uint16(payload)), Val: binary.BigEndian.Uint32(payload[2:])}
		if err := c.apply(setting); err != nil {
			return err
		}
	}
	return c.budget.spend(costSettings)
}

// apply follows one setting of the peer. c.mu is held.
func (c *conn) apply(setting http2.Setting) error {
	if wrong, ok := errors.AsType[http2.ConnectionError](setting.Valid()); ok {
		return connectionError(http2.ErrCode(wrong), "invalid "+setting.String())
	}
	switch setting.ID {
	case http2.SettingHeaderTableSize:
		c.encoder.resize(setting.Val)
	case http2.SettingMaxHeaderListSize:
		c.maxHeader = int(min(setting.Val, uint32(c.srv.config.MaxSentHeaderBytes)))
	case http2.SettingInitialWindowSize:
		return c.resizeWindows(int(setting.Val))
	}
	return nil
}

func (c *conn) windowUpdateFrame(h frameHeader, payload []byte) error {
	increment := int(binary.BigEndian.Uint32(payload) & maxWindow)
	if increment == 0 {
		return &frameError{h.stream, http2.ErrCodeProtocol, "WINDOW_UPDATE of 0"}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if increment <= c.returnable {
		c.returnable -= increment
	} else if err := c.budget.spend(costControl); err != nil {
		return err
	}
	return c.widen(h.stream, increment)
}

func (c *conn) pingFrame(h frameHeader, payload []byte) error {
	cost := costControl
	c.mu.Lock()
	if !h.flags.Has(http2.FlagPingAck) {
		c.out = appendFrame(c.out, http2.FramePing, http2.FlagPingAck, 0, payload)
		if c.freePings > 0 {
			c.freePings--
			cost = 0
		}
	} else if string(payload) == drainPing && !c.draining.IsZero() {
		if due := time.Now().Add(goAwayGrace); due.Before(c.lastDue) {
			c.lastDue = due
		}
	}
	c.mu.Unlock()
	return c.budget.spend(cost)
}

// mayBeTakenBack reports whether RST_STREAM on an idle stream is that of a call which was
// cancelled before its HEADERS were written. gRPC's C core numbers a call first, and releases of
// it until 2025 reset such a one all the same (grpc/grpc issue 38758). RFC 9113 section 6.4 has it
// end the connection, with the calls of others; it means nothing, and on a connection that has had
// calls it is let pass.
func (c *conn) mayBeTakenBack(id uint32) bool { return id%2 == 1 && c.lastID > 0 }

func (c *conn) resetFrame(h frameHeader) error {
	c.srv.stats.ResetsReceived.Add(1)
	if c.isIdle(h.stream) {
		return c.budget.spend(costControl) // Streams with lower numbers may yet be opened: it opens none.
	}
	cost := 0
	c.mu.Lock()
	s := c.streams[h.stream]
	if s != nil && s.waiting {
		if c.fruitless++; c.fruitless > fruitlessFactor*c.srv.config.MaxConcurrentStreams {
			cost = costRefused
		}
	}
	if c.cancellable--; c.cancellable < 0 {
		c.cancellable, cost = 0, max(cost, costControl)
	} else {
		c.freePings++
	}
	if s != nil {
		if !s.remoteDone {
			c.stragglers++
		}
		s.close(errStreamClosed)
	}
	c.mu.Unlock()
	return c.budget.spend(cost)
}

func dependency(priority []byte) uint32 {
	return binary.BigEndian.Uint32(priority) & maxStreamID
}
