package h2

import "encoding/binary"

// frame handles one frame.
func (c *conn) frame(h frameHeader, payload []byte) error {
	if c.block.stream != 0 && (h.kind != frameContinuation || h.stream != c.block.stream) {
		return connectionError(codeProtocol, "frame between a header block's parts")
	}
	if !c.greeted && (h.kind != frameSettings || h.has(flagAck)) {
		return connectionError(codeProtocol, "first frame is not SETTINGS")
	}
	switch h.kind {
	case frameData:
		return c.data(h, payload)
	case frameHeaders:
		return c.headersFrame(h, payload)
	case frameContinuation:
		return c.continuationFrame(h, payload)
	case frameSettings:
		return c.settingsFrame(h, payload)
	case frameWindowUpdate:
		return c.windowUpdateFrame(h, payload)
	case framePing:
		return c.pingFrame(h, payload)
	case frameReset:
		return c.resetFrame(h, payload)
	case framePriority:
		return c.priorityFrame(h, payload)
	case frameGoAway:
		return c.goAwayFrame(h)
	case framePushPromise:
		return connectionError(codeProtocol, "PUSH_PROMISE from a client")
	default:
		return c.budget.spend(costControl) // RFC 9113 section 5.5: unknown frames mean nothing.
	}
}

func (c *conn) data(h frameHeader, payload []byte) error {
	if h.stream == 0 || c.isIdle(h.stream) {
		return connectionError(codeProtocol, "DATA on a stream that was never opened")
	}
	data, err := unpad(h, payload)
	if err != nil {
		return err
	}
	end := h.has(flagEndStream)
	if len(data) == 0 && !end {
		if err := c.budget.spend(costControl); err != nil {
			return err
		}
	}
	c.mu.Lock()
	if h.length == maxFrameSize && c.maxFrame == maxFrameSize {
		c.maxFrame = maxLongFrame
		c.out = appendSettings(c.out, map[setting]uint32{settingMaxFrameSize: maxLongFrame})
	}
	s := c.streams[h.stream]
	if err := c.take(s, h); err != nil {
		c.giveBack(h.length)
		c.mu.Unlock()
		return err
	}
	c.giveBack(h.length - len(data))
	s.giveBack(h.length - len(data))
	err = s.receive(data, end)
	c.mu.Unlock()
	if d, ok := s.work.(*directStream); ok && err == nil {
		d.progress()
	}
	return err
}

func (c *conn) settingsFrame(h frameHeader, payload []byte) error {
	switch {
	case h.stream != 0:
		return connectionError(codeProtocol, "SETTINGS of a stream")
	case h.has(flagAck):
		if h.length != 0 {
			return connectionError(codeFrameSize, "SETTINGS acknowledgement with a payload")
		}
		c.knowsLimits = true
		return c.budget.spend(costControl)
	case h.length%settingSize != 0:
		return connectionError(codeFrameSize, "SETTINGS of odd length")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.greeted = true
	for ; len(payload) > 0; payload = payload[settingSize:] {
		id, value := setting(binary.BigEndian.Uint16(payload)), binary.BigEndian.Uint32(payload[2:])
		if err := c.apply(id, value); err != nil {
			return err
		}
	}
	c.out = appendSettingsAck(c.out)
	return c.budget.spend(costSettings)
}

// apply follows one setting of the peer. c.mu is held.
func (c *conn) apply(id setting, value uint32) error {
	switch id {
	case settingHeaderTableSize:
		c.encoder.resize(value)
	case settingEnablePush:
		if value > 1 {
			return connectionError(codeProtocol, "invalid SETTINGS_ENABLE_PUSH")
		}
	case settingInitialWindowSize:
		if value > maxWindow {
			return connectionError(codeFlowControl, "invalid SETTINGS_INITIAL_WINDOW_SIZE")
		}
		return c.resizeWindows(int(value))
	case settingMaxFrameSize:
		if value < maxFrameSize || value >= 1<<24 {
			return connectionError(codeProtocol, "invalid SETTINGS_MAX_FRAME_SIZE")
		}
	}
	return nil
}

func (c *conn) windowUpdateFrame(h frameHeader, payload []byte) error {
	if h.length != 4 {
		return connectionError(codeFrameSize, "WINDOW_UPDATE is not 4 bytes long")
	}
	if h.stream != 0 && c.isIdle(h.stream) {
		return connectionError(codeProtocol, "WINDOW_UPDATE on a stream that was never opened")
	}
	increment := int(binary.BigEndian.Uint32(payload) & maxWindow)
	if increment == 0 {
		return &frameError{h.stream, codeProtocol, "WINDOW_UPDATE of 0"}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.returnable.take(h.stream, increment) {
		if err := c.budget.spend(costControl); err != nil {
			return err
		}
	}
	return c.widen(h.stream, increment)
}

func (c *conn) pingFrame(h frameHeader, payload []byte) error {
	if h.stream != 0 {
		return connectionError(codeProtocol, "PING of a stream")
	}
	if h.length != pingSize {
		return connectionError(codeFrameSize, "PING is not 8 bytes long")
	}
	cost := costControl
	c.mu.Lock()
	if data := [pingSize]byte(payload); !h.has(flagAck) {
		c.out = appendPing(c.out, flagAck, data)
		if c.freePings > 0 {
			c.freePings--
			cost = 0
		}
	} else if data == drainPing && !c.draining.IsZero() {
		c.lastGoAway()
	}
	c.mu.Unlock()
	return c.budget.spend(cost)
}

func (c *conn) resetFrame(h frameHeader, payload []byte) error {
	if h.stream == 0 || c.isIdle(h.stream) {
		return connectionError(codeProtocol, "RST_STREAM of a stream that was never opened")
	}
	if h.length != 4 {
		return connectionError(codeFrameSize, "RST_STREAM is not 4 bytes long")
	}
	c.srv.stats.ResetsReceived.Add(1)
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
		s.close(errStreamClosed)
	}
	c.mu.Unlock()
	return c.budget.spend(cost)
}

// priorityFrame checks a PRIORITY frame, which RFC 9113 gives no meaning any more.
func (c *conn) priorityFrame(h frameHeader, payload []byte) error {
	switch {
	case h.stream == 0:
		return connectionError(codeProtocol, "PRIORITY of the connection")
	case h.length != priorityFieldSize:
		return streamError(h.stream, codeFrameSize, "PRIORITY is not 5 bytes long")
	case dependency(payload) == h.stream:
		return streamError(h.stream, codeProtocol, "stream depends on itself")
	}
	return c.budget.spend(costControl)
}

func dependency(priority []byte) uint32 {
	return binary.BigEndian.Uint32(priority) & maxStreamID
}

// goAwayFrame lets the streams of a peer that goes away end.
func (c *conn) goAwayFrame(h frameHeader) error {
	if h.stream != 0 {
		return connectionError(codeProtocol, "GOAWAY of a stream")
	}
	if h.length < 8 {
		return connectionError(codeFrameSize, "GOAWAY is too short")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastGoAway()
	return c.budget.spend(costControl)
}
