package cachetest

import (
	"net"
	"sync"
	"testing"
	"time"
)

// Metronome tells whether the machine lets processes run: it asks a Redis for an
// answer every millisecond, on a connection of its own, and notes when that is late.
type Metronome struct {
	connection net.Conn
	wait       sync.WaitGroup
	beats      chan int // Gets the number of late beats so far at each beat, where somebody waits.
}

// late is how far apart beats can be on a machine that is busy, but not too busy.
const late = 3 * time.Millisecond

// StartMetronome runs until the end of the test.
func StartMetronome(t testing.TB, r *Redis) *Metronome {
	t.Helper()
	connection, err := net.Dial(r.network, r.address)
	if err != nil {
		t.Fatal(err)
	}
	m := &Metronome{connection: connection, beats: make(chan int)}
	m.wait.Go(m.beat)
	t.Cleanup(func() {
		connection.Close()
		m.wait.Wait()
	})
	return m
}

// Late returns, at the next beat, how many beats were late up to then.
func (m *Metronome) Late() int { return <-m.beats }

func (m *Metronome) beat() {
	defer close(m.beats)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	answer := make([]byte, len("+PONG\r\n"))
	missed := 0
	for last := time.Now(); ; last = time.Now() {
		<-tick.C
		if _, err := m.connection.Write([]byte("PING\r\n")); err != nil {
			return
		}
		if _, err := m.connection.Read(answer); err != nil {
			return
		}
		if time.Since(last) > late {
			missed++
		}
		select {
		case m.beats <- missed:
		default:
		}
	}
}
