package remote

import (
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progressInterval is the time between two lines where there is no terminal.
const progressInterval = 5 * time.Second

// progress shows on standard error how many rows there are so far: as a bar on a terminal,
// else as a line every few seconds.
type progress struct {
	bar  *progressbar.ProgressBar // Counts bytes where the size is known, else rows.
	rows atomic.Int64
	size int64
	verb string
	stop chan struct{}
	done chan struct{}
}

// newProgress shows the progress through a file of this size in bytes; -1 where that is
// not known.
func newProgress(size int64, verb string) *progress {
	p := &progress{size: size, verb: verb, stop: make(chan struct{}), done: make(chan struct{})}
	if term.IsTerminal(int(os.Stderr.Fd())) {
		p.bar = newBar(size, verb, os.Stderr)
		close(p.done)
		return p
	}
	go p.tell()
	return p
}

// newBar is a bar that moves when it is told something, and only then: a goroutine of its own
// would look at it without its lock.
func newBar(size int64, verb string, out io.Writer) *progressbar.ProgressBar {
	return progressbar.NewOptions64(size, progressbar.OptionSetWriter(out), progressbar.OptionSetDescription(verb),
		progressbar.OptionShowBytes(size >= 0), progressbar.OptionShowCount(), progressbar.OptionShowIts(),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionSetSpinnerChangeInterval(0),
		progressbar.OptionClearOnFinish())
}

func (p *progress) tell() {
	defer close(p.done)
	ticker := time.NewTicker(progressInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			fmt.Fprintf(os.Stderr, "%s %d rows\n", p.verb, p.rows.Load())
		case <-p.stop:
			return
		}
	}
}

// add counts rows.
func (p *progress) add(n int) {
	rows := p.rows.Add(int64(n))
	switch {
	case p.bar == nil:
	case p.size < 0:
		_ = p.bar.Add(n) // What cannot be drawn is not missed.
	default:
		p.bar.Describe(fmt.Sprintf("%s %d rows", p.verb, rows))
	}
}

// say writes a line.
func (p *progress) say(line string) {
	if p.bar != nil {
		_ = p.bar.Clear() // As above.
	}
	fmt.Fprintln(os.Stderr, line)
}

// Write counts bytes of the file: it is what a reader of the file is teed to.
func (p *progress) Write(read []byte) (int, error) {
	if p.bar != nil && p.size >= 0 {
		_ = p.bar.Add(len(read)) // As above.
	}
	return len(read), nil
}

// end removes the bar.
func (p *progress) end() {
	close(p.stop)
	<-p.done
	if p.bar != nil {
		_ = p.bar.Finish() // As above.
	}
}
