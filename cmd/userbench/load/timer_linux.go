package load

import (
	"encoding/binary"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// timer sleeps to within microseconds. The runtime's own timers are rounded to
// milliseconds when the process is idle, which would show in every percentile.
type timer struct {
	file *os.File
}

func newTimer() (*timer, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create timer: %w", err)
	}
	return &timer{file: os.NewFile(uintptr(fd), "timer")}, nil
}

func (t *timer) sleep(d time.Duration) error {
	raw, err := t.file.SyscallConn()
	if err != nil {
		return err
	}
	var setErr error
	err = raw.Control(func(fd uintptr) {
		setErr = unix.TimerfdSettime(int(fd), 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}, nil)
	})
	if err == nil {
		err = setErr
	}
	if err == nil {
		err = binary.Read(t.file, binary.NativeEndian, new(uint64))
	}
	return err
}

func (t *timer) close() { t.file.Close() }
