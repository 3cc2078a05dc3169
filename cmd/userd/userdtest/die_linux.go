package userdtest

import (
	"os/exec"
	"syscall"
)

// DieWithTest lets a command that is yet to be started get a signal when the process of
// the test ends, however that ends. Elsewhere than on Linux nothing does that.
func DieWithTest(cmd *exec.Cmd, signal syscall.Signal) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: signal}
}
