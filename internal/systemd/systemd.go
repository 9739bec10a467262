// Package systemd talks to the service manager that has started the process: it takes what
// that hands over (sd_listen_fds(3)), tells it how the process is, and has it keep sockets
// for the process that comes next (sd_notify(3)). Without a manager nothing is handed over,
// and nothing is told.
//
// A Manager is for one goroutine at a time. What was handed over is the process's: the
// first Manager takes all.
package systemd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/libnetwork/libnetwork/types"
)

// The first file that is handed over, and how many may be.
const (
	firstFD = 3
	maxFDs  = 64
)

// keptName is how the names of files begin that we have had kept, by which they are told
// from those that the manager listens at for us.
const keptName = "kept-"

// A Manager is the service manager. Close it at the end.
type Manager struct {
	socket  string // where it hears us; empty if there is none
	waiting []*os.File
	kept    map[string]*os.File
}

// Open takes what was handed over. The variables that say so are cleared, so that no child
// takes it for its own. A number of files that is none is a BadRequest error.
func Open(getenv func(string) string) (*Manager, error) {
	m := &Manager{socket: getenv("NOTIFY_SOCKET"), kept: make(map[string]*os.File)}
	pid, fds := getenv("LISTEN_PID"), getenv("LISTEN_FDS")
	if pid != strconv.Itoa(os.Getpid()) || fds == "" {
		return m, nil
	}
	n, err := strconv.Atoi(fds)
	if err != nil || n < 1 || n > maxFDs {
		return nil, types.BadRequestErrorf("LISTEN_FDS=%q is not a number of sockets", fds)
	}
	names := strings.Split(getenv("LISTEN_FDNAMES"), ":")
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		if err := os.Unsetenv(name); err != nil {
			return nil, err
		}
	}
	for i := range n {
		f := os.NewFile(uintptr(firstFD+i), "socket "+strconv.Itoa(firstFD+i))
		closeOnExec(f)
		if i < len(names) && strings.HasPrefix(names[i], keptName) {
			m.kept[strings.TrimPrefix(names[i], keptName)] = f
		} else {
			m.waiting = append(m.waiting, f)
		}
	}
	return m, nil
}

// Present says whether there is a manager that hears us.
func (m *Manager) Present() bool { return m.socket != "" }

// Listeners returns the sockets that the manager listens at for us. Having none is a
// BadRequest error, as is a file that is no listening socket.
func (m *Manager) Listeners() (list []net.Listener, err error) {
	if len(m.waiting) == 0 {
		return nil, types.BadRequestErrorf("no socket was handed over: is the daemon started by a .socket unit?")
	}
	for _, f := range m.waiting {
		l, err := net.FileListener(f) // a duplicate
		if err != nil {
			for _, l := range list {
				_ = l.Close()
			}
			return nil, types.BadRequestErrorf("%s is not a listening socket: %w", f.Name(), err)
		}
		list = append(list, l)
	}
	return list, nil
}

// Kept returns what an earlier process has had kept by a name, until Close.
func (m *Manager) Kept(name string) (fd int, ok bool) {
	f := m.kept[name]
	if f == nil {
		return -1, false
	}
	return int(f.Fd()), true
}

// Keep has the manager keep a file for the next process, if its unit has a
// FileDescriptorStoreMax, in the place of what has the name, and in whatever state: an error
// on a socket, such as a full buffer, is none that ends it.
func (m *Manager) Keep(name string, fd int) error {
	return m.tell(func(conn *net.UnixConn) error {
		_, err := conn.Write([]byte("FDSTOREREMOVE=1\nFDNAME=" + keptName + name))
		if err != nil {
			return err
		}
		return sendFile(conn, "FDSTORE=1\nFDPOLL=0\nFDNAME="+keptName+name, fd)
	})
}

// Notify tells the manager how the process is: lines of sd_notify(3).
func (m *Manager) Notify(state string) error {
	if !m.Present() {
		return nil
	}
	return m.tell(func(conn *net.UnixConn) error {
		_, err := conn.Write([]byte(state))
		return err
	})
}

// tell connects to the manager for a message or two.
func (m *Manager) tell(send func(*net.UnixConn) error) error {
	path := m.socket
	if strings.HasPrefix(path, "@") {
		path = "\x00" + path[1:] // of the abstract name space (unix(7))
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err == nil {
		err = errors.Join(send(conn), conn.Close())
	}
	if err != nil {
		return fmt.Errorf("telling the service manager: %w", err)
	}
	return nil
}

// Close closes what was handed over.
func (m *Manager) Close() error {
	var errs []error
	for _, f := range m.waiting {
		errs = append(errs, f.Close())
	}
	for _, f := range m.kept {
		errs = append(errs, f.Close())
	}
	m.waiting, m.kept = nil, nil
	return errors.Join(errs...)
}
