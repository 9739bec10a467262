//go:build unix

package main

import (
	"os"
	"strconv"
	"syscall"
)

// inherited returns a pipe or a socket that the program was started with. What
// else may have that number is the runtime's own.
func inherited(fd uintptr) *os.File {
	var st syscall.Stat_t
	if syscall.Fstat(int(fd), &st) != nil {
		return nil
	}
	if kind := st.Mode & syscall.S_IFMT; kind != syscall.S_IFIFO && kind != syscall.S_IFSOCK {
		return nil
	}
	syscall.CloseOnExec(int(fd))
	return os.NewFile(fd, "descriptor "+strconv.Itoa(int(fd)))
}
