//go:build unix

package systemd

import (
	"net"
	"os"
	"syscall"
)

// sendFile sends a message with a file (unix(7), SCM_RIGHTS).
func sendFile(conn *net.UnixConn, msg string, fd int) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = raw.Write(func(s uintptr) bool {
		sent = syscall.Sendmsg(int(s), []byte(msg), syscall.UnixRights(fd), nil, 0)
		return sent != syscall.EAGAIN
	})
	if err == nil {
		err = os.NewSyscallError("sendmsg", sent)
	}
	return err
}

func closeOnExec(f *os.File) { syscall.CloseOnExec(int(f.Fd())) }
