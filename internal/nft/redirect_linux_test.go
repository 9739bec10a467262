package nft_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork/internal/nft"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/types"
)

func set(t testing.TB, r *nft.Redirector, ns *nstest.NS, port uint16) {
	t.Helper()
	if err := r.Set(t.Context(), ns.FD(), port); err != nil {
		t.Fatal(err)
	}
}

func TestRedirect(t *testing.T) {
	nstest.Require(t, nstest.NFTables)
	ns := nstest.New(t)
	p := &topology{t: t}
	p.serve(ns, "udp", "127.0.0.11:10053")
	p.serve(ns, "tcp", "127.0.0.11:10053")
	var r nft.Redirector
	set(t, &r, ns, 10053)
	ask := func(t *testing.T, open bool) {
		t.Helper()
		p.t = t
		for _, proto := range []string{"udp", "tcp"} {
			if open {
				p.open(ns, proto, "127.0.0.11:53", "127.0.0.1")
			} else {
				p.closed(ns, proto, "127.0.0.11:53")
			}
		}
	}
	t.Run("both protocols", func(t *testing.T) { ask(t, true) })
	t.Run("nothing is tracked", func(t *testing.T) {
		_ = ns.Do(func() error {
			text, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_count")
			if err == nil && strings.TrimSpace(string(text)) != "0" {
				t.Errorf("%s connections", text)
			}
			return nil
		})
	})
	t.Run("port 53 is free for the container", func(t *testing.T) {
		p.t = t
		p.serve(ns, "udp", "0.0.0.0:53")
		p.serve(ns, "tcp", "0.0.0.0:53")
		p.open(ns, "udp", "127.0.0.1:53", "127.0.0.1")
		p.open(ns, "tcp", "127.0.0.1:53", "127.0.0.1")
		ask(t, true)
	})
	rules := func(t *testing.T) int {
		t.Helper()
		return strings.Count(inside(t, ns, "nft", "list", "ruleset"), "notrack")
	}
	t.Run("again leaves one set of rules", func(t *testing.T) {
		set(t, &r, ns, 10053)
		if n := rules(t); n != 4 {
			t.Errorf("%d rules, want 4", n)
		}
		ask(t, true)
	})
	t.Run("a repair", func(t *testing.T) {
		for _, tamper := range []string{
			"add rule ip libnetwork_dns output drop", "flush chain ip libnetwork_dns output",
			"add chain ip libnetwork_dns output { policy drop; }", "flush ruleset",
		} {
			inside(t, ns, "nft", tamper)
			set(t, &r, ns, 10053)
			if n := rules(t); n != 4 {
				t.Errorf("%d rules, want 4", n)
			}
			ask(t, true)
		}
	})
	t.Run("D11 another port", func(t *testing.T) {
		p.t = t
		p.serve(ns, "udp", "127.0.0.11:10054")
		p.serve(ns, "tcp", "127.0.0.11:10054")
		set(t, &r, ns, 10054)
		if n := rules(t); n != 4 {
			t.Errorf("%d rules, want 4", n)
		}
		ask(t, true)
	})
	t.Run("removal", func(t *testing.T) {
		for range 2 {
			if err := r.Remove(t.Context(), ns.FD()); err != nil {
				t.Fatal(err)
			}
		}
		if text := inside(t, ns, "nft", "list", "ruleset"); text != "" {
			t.Errorf("left:\n%s", text)
		}
	})
	t.Run("bad input", func(t *testing.T) {
		err := r.Set(t.Context(), ns.FD(), 0)
		if _, ok := err.(types.BadRequestError); !ok {
			t.Errorf("port 0: %v", err)
		}
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := r.Set(t.Context(), int(f.Fd()), 1); err == nil {
			t.Error("a file that is no namespace was accepted")
		}
	})
}

// A large answer has its checksum made by software, as nothing on the way may
// rely on the loopback link's.
func TestRedirectLargeAnswer(t *testing.T) {
	nstest.Require(t, nstest.NFTables)
	ns := nstest.New(t)
	var r nft.Redirector
	set(t, &r, ns, 10053)
	err := ns.Do(func() error {
		s, err := net.ListenPacket("udp4", "127.0.0.11:10053")
		if err != nil {
			return err
		}
		defer s.Close()
		c, err := net.Dial("udp4", "127.0.0.11:53")
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := c.Write([]byte("x")); err != nil {
			return err
		}
		buf := make([]byte, 65000)
		_, from, err := s.ReadFrom(buf)
		if err != nil {
			return err
		}
		if _, err := s.WriteTo(buf[:60000], from); err != nil {
			return err
		}
		n, err := c.Read(buf)
		if err == nil && n != 60000 {
			err = fmt.Errorf("%d bytes", n)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func inside(t testing.TB, ns *nstest.NS, args ...string) string {
	t.Helper()
	var out []byte
	err := ns.Do(func() (err error) {
		out, err = exec.Command(args[0], args[1:]...).CombinedOutput()
		return err
	})
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}

func BenchmarkRedirect(b *testing.B) {
	nstest.Require(b, nstest.NFTables)
	var r nft.Redirector
	b.Run("fresh namespace", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			ns := nstest.New(b)
			b.StartTimer()
			set(b, &r, ns, 10053)
		}
	})
	b.Run("other port", func(b *testing.B) {
		ns := nstest.New(b)
		port := uint16(10053)
		for b.Loop() {
			set(b, &r, ns, port)
			port ^= 1
		}
	})
	b.Run("again", func(b *testing.B) {
		ns := nstest.New(b)
		for b.Loop() {
			set(b, &r, ns, 10053)
		}
	})
}
