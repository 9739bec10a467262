package ipt_test

import (
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libnetwork/libnetwork/internal/ipt"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/types"
)

// answer answers at an address of the namespace with a word, by UDP and TCP.
func answer(t *testing.T, ns *nstest.NS, at, word string) {
	t.Helper()
	var l net.Listener
	var c net.PacketConn
	err := ns.Do(func() (err error) {
		if l, err = net.Listen("tcp", at); err != nil {
			return err
		}
		c, err = net.ListenPacket("udp", at)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, word)
			_ = conn.Close()
		}
	})
	wg.Go(func() {
		buf := make([]byte, 16)
		for {
			_, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = c.WriteTo([]byte(word), from)
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		_ = c.Close()
		wg.Wait()
	})
}

// asked is what is answered at 127.0.0.11:53, by UDP and TCP.
func asked(ns *nstest.NS) string {
	var out []string
	for _, proto := range []string{"udp", "tcp"} {
		err := ns.Do(func() error {
			c, err := net.DialTimeout(proto, "127.0.0.11:53", 5*time.Second)
			if err != nil {
				return err
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(5 * time.Second))
			if proto == "udp" {
				_, _ = c.Write([]byte("x"))
			}
			buf := make([]byte, 16)
			n, err := c.Read(buf)
			out = append(out, string(buf[:n]))
			return err
		})
		if err != nil {
			out = append(out, "nobody")
		}
	}
	return strings.Join(out, " ")
}

func in(t *testing.T, ns *nstest.NS, args ...string) string {
	t.Helper()
	var out []byte
	if err := ns.Do(func() (err error) {
		out, err = exec.Command(args[0], args[1:]...).CombinedOutput()
		return err
	}); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestRedirect(t *testing.T) {
	for v, feature := range variants() {
		t.Run(string(v), func(t *testing.T) {
			nstest.Require(t, feature)
			testRedirect(t, v)
		})
	}
}

func testRedirect(t *testing.T, v ipt.Variant) {
	ns := nstest.New(t)
	r, err := ipt.NewRedirector(ipt.Config{Variant: v})
	if err != nil {
		t.Fatal(err)
	}
	set := func(port uint16) {
		t.Helper()
		if err := r.Set(t.Context(), ns.FD(), port); err != nil {
			t.Fatal(err)
		}
	}
	want := func(text string) {
		t.Helper()
		if got := asked(ns); got != text {
			t.Errorf("port 53 is answered by %s, want %s", got, text)
		}
	}
	answer(t, ns, "127.0.0.11:10053", "one")
	answer(t, ns, "127.0.0.11:10054", "two")
	set(10053)
	want("one one")
	answer(t, ns, "127.0.0.11:53", "container") // the port is free for it
	want("one one")
	prog := "iptables-" + string(v)
	// The container's own rules stay.
	in(t, ns, prog, "-w", "-t", "nat", "-A", "OUTPUT", "-d", "10.9.9.9", "-j", "RETURN")
	before := in(t, ns, prog, "-S", "-t", "nat")
	set(10053)
	if after := in(t, ns, prog, "-S", "-t", "nat"); after != before {
		t.Errorf("the same again has changed\n%s\nto\n%s", before, after)
	}
	for _, tamper := range []string{"-F LIBNETWORK-DNS", "-D OUTPUT 1", "-I LIBNETWORK-DNS -j RETURN"} {
		in(t, ns, append([]string{prog, "-w", "-t", "nat"}, strings.Fields(tamper)...)...)
		set(10053)
		want("one one")
	}
	set(10054)
	want("two two")
	for range 2 {
		if err := r.Remove(t.Context(), ns.FD()); err != nil {
			t.Fatal(err)
		}
	}
	want("container container")
	if left := in(t, ns, prog, "-S", "-t", "nat"); strings.Contains(left, "LIBNETWORK") || !strings.Contains(left, "10.9.9.9") {
		t.Errorf("left:\n%s", left)
	}
	if _, ok := r.Set(t.Context(), ns.FD(), 0).(types.BadRequestError); !ok {
		t.Error("port 0 is taken")
	}
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := r.Set(t.Context(), int(f.Fd()), 1); err == nil {
		t.Error("a file that is no namespace is taken")
	}
}
