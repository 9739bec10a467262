package systemd

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestKeep hands a socket to the service manager, as that reads it.
func TestKeep(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	m, err := Open(func(name string) string { return map[string]string{"NOTIFY_SOCKET": path}[name] })
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := errors.Join(m.Keep("tables", int(w.Fd())), w.Close()); err != nil {
		t.Fatal(err)
	}
	msg, oob := make([]byte, 100), make([]byte, 100)
	if n, err := conn.Read(msg); err != nil || string(msg[:n]) != "FDSTOREREMOVE=1\nFDNAME=kept-tables" {
		t.Errorf("the service manager is told %q first, %v", msg[:n], err)
	}
	n, oobn, _, _, err := conn.ReadMsgUnix(msg, oob)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(msg[:n]); got != "FDSTORE=1\nFDPOLL=0\nFDNAME=kept-tables" {
		t.Errorf("the service manager is told %q", got)
	}
	parts, err := syscall.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(parts) != 1 {
		t.Fatalf("%d parts, %v", len(parts), err)
	}
	fds, err := syscall.ParseUnixRights(&parts[0])
	if err != nil || len(fds) != 1 {
		t.Fatalf("files %v, %v", fds, err)
	}
	kept := os.NewFile(uintptr(fds[0]), "kept")
	if _, err := kept.WriteString("x"); err != nil {
		t.Error(err)
	}
	if err := kept.Close(); err != nil {
		t.Error(err)
	}
	if got, err := io.ReadAll(r); string(got) != "x" || err != nil {
		t.Errorf("what was kept is another file: %q, %v", got, err)
	}
}
