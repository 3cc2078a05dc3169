package load

import (
	"math/rand/v2"
	"time"
)

// shortestSleep bounds how often the pacer wakes. Calls that fall due meanwhile
// leave together, late by no more than that.
const shortestSleep = 50 * time.Microsecond

// Open offers calls at a rate, whatever the server makes of it, as independent
// callers do: the times between them are exponentially distributed. A call's
// latency counts from when it was to be sent, also when it had to wait for room on
// a connection, so a server that stalls cannot hide it.
func (g *Generator) Open(rate float64, duration time.Duration) (*Result, error) {
	timer, err := newTimer()
	if err != nil {
		return nil, err
	}
	defer timer.close()
	g.seed++
	p := newPhase(duration, g.target.Ramp, g.target.Wire.Deadline)
	p.open = true
	pacer := pacer{generator: g, phase: p, random: rand.New(rand.NewPCG(g.seed, 2))}
	for at := p.begun; at < p.end; at += time.Duration(pacer.random.ExpFloat64() / rate * float64(time.Second)) {
		if now := clock(); at > now {
			pacer.flush()
			if err := timer.sleep(max(at-now, shortestSleep)); err != nil {
				return nil, err
			}
		}
		pacer.send(at)
	}
	pacer.flush()
	p.finish(1)
	p.await()
	return p.result(p.end - p.ramped), nil
}

// pacer sends the calls of an open run.
type pacer struct {
	generator *Generator
	phase     *phase
	random    *rand.Rand
	lane      int
	touched   []*lane // That have something to flush.
}

// send begins a call on the next connection that has room. Without any the call waits
// for one, or is not made.
func (p *pacer) send(at time.Duration) {
	lanes := p.generator.lanes
	p.phase.pending.Add(1)
	for range lanes {
		p.lane = (p.lane + 1) % len(lanes)
		if p.sendOn(lanes[p.lane], at, false) {
			return
		}
	}
	if p.generator.target.Drop {
		p.phase.drop()
		p.phase.finish(1)
		return
	}
	p.lane = (p.lane + 1) % len(lanes)
	p.sendOn(lanes[p.lane], at, true)
}

func (p *pacer) sendOn(l *lane, at time.Duration, wait bool) bool {
	l.lock()
	defer l.unlock()
	switch {
	case l.room() > 0 && len(l.queue) == 0:
		l.begin(p.generator.nextCall(p.phase, l, at))
		if len(p.touched) == 0 || p.touched[len(p.touched)-1] != l {
			p.touched = append(p.touched, l)
		}
	case wait:
		l.queue = append(l.queue, p.generator.nextCall(p.phase, l, at))
	default:
		return false
	}
	return true
}

func (p *pacer) flush() {
	for _, l := range p.touched {
		l.lock()
		l.flush()
		l.unlock()
	}
	p.touched = p.touched[:0]
}
