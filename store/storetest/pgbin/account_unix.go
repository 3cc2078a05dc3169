//go:build unix

package pgbin

import (
	"errors"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// Give gives a folder to the account that servers run as.
func Give(dir string) error {
	if to := account(); to != nil {
		return os.Chown(dir, int(to.Uid), int(to.Gid))
	}
	return nil
}

// RunAsServer has a command run as the account that servers run as, and reports whether
// that is another than this process's.
func RunAsServer(command *exec.Cmd) bool {
	as := account()
	if as == nil {
		return false
	}
	if command.SysProcAttr == nil {
		command.SysProcAttr = new(syscall.SysProcAttr)
	}
	command.SysProcAttr.Credential = as
	return true
}

// account is the account to run a server as, which refuses to be root; nil for this
// process's own.
func account() *syscall.Credential {
	if os.Getuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		found, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(found.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(found.Gid, 10, 32)
		if errors.Join(uidErr, gidErr) == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid), NoSetGroups: true}
		}
	}
	return nil
}
