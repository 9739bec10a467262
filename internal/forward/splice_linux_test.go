package forward

import (
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/libnetwork/libnetwork/internal/nstest"
)

// moved is how many bytes this process has read and written by system calls that hand
// them over: splice(2) is none of these.
func moved(t *testing.T) int64 {
	t.Helper()
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Fatal(err)
	}
	var in, out int64
	if _, err := fmt.Sscanf(string(text), "rchar: %d\nwchar: %d\n", &in, &out); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	return in + out
}

// The bytes of a stream go from one socket to the other in the kernel, either way.
func TestTCPSplice(t *testing.T) {
	nstest.Leaks(t)
	l, front, _ := forwardTCP(t, Config{})
	client := dialTCP(t, front)
	server := accept(t, l)
	const size = 16 << 20
	for _, tt := range []struct {
		name     string
		from, to io.ReadWriter
	}{
		{"to the server", client, server},
		{"to the client", server, client},
	} {
		before := moved(t)
		sent := make(chan error, 1)
		go func() {
			_, err := io.CopyN(tt.from, zeros{}, size)
			sent <- err
		}()
		if _, err := io.CopyN(io.Discard, onlyReader{tt.to}, size); err != nil {
			t.Fatal(err)
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		// The two ends, which are here too, read and write everything once.
		if more := moved(t) - before - 2*size; more < 0 || more > size/10 {
			t.Errorf("%s: beside its ends the process has moved %d of %d bytes", tt.name, more, size)
		}
	}
}
