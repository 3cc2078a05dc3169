package storetest

import (
	"os/exec"
	"syscall"
)

// inMemory is a folder in memory, where making a database takes a tenth of the time,
// or "" when there is none with room for many.
func inMemory() string {
	const folder, room = "/dev/shm", 2 << 30
	var stat syscall.Statfs_t
	if err := syscall.Statfs(folder, &stat); err != nil || int64(stat.Bavail)*stat.Bsize < room {
		return ""
	}
	return folder
}

// inOwnGroup keeps signals for this process's group from a command.
func inOwnGroup(command *exec.Cmd) { attributes(command).Setpgid = true }

// dieWithParent makes a command end when this process does.
func dieWithParent(command *exec.Cmd) { attributes(command).Pdeathsig = syscall.SIGKILL }

func attributes(command *exec.Cmd) *syscall.SysProcAttr {
	if command.SysProcAttr == nil {
		command.SysProcAttr = new(syscall.SysProcAttr)
	}
	return command.SysProcAttr
}
