package hostport_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/hostport"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/internal/step"
	"github.com/libnetwork/libnetwork/types"
)

func TestMain(m *testing.M) { nstest.Main(m) }

const tcp, udp, sctp = unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_SCTP

// foreign is a program that wants a port: it listens, or says why not.
func foreign(proto uint8, addr string, reuse bool) (func(), error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			v := 0
			if reuse {
				v = 1
			}
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, v)
		})
	}}
	ip := netip.MustParseAddrPort(addr).Addr()
	suffix := "4"
	if ip.Is6() {
		suffix = "6"
	}
	if proto == udp {
		c, err := lc.ListenPacket(context.Background(), "udp"+suffix, addr)
		if err != nil {
			return nil, err
		}
		return func() { _ = c.Close() }, nil
	}
	l, err := lc.Listen(context.Background(), "tcp"+suffix, addr)
	if err != nil {
		return nil, err
	}
	return func() { _ = l.Close() }, nil
}

func TestReserveKeepsOthersOut(t *testing.T) {
	tests := []struct {
		name    string
		proto   uint8
		host    string
		foreign string
		free    bool
	}{
		{"tcp all", tcp, "0.0.0.0", "0.0.0.0:8080", false},
		{"tcp all against one", tcp, "0.0.0.0", "127.0.0.1:8080", false},
		{"tcp one against all", tcp, "127.0.0.1", "0.0.0.0:8080", false},
		{"tcp one against another", tcp, "127.0.0.1", "127.0.0.2:8080", true},
		{"tcp ipv6", tcp, "::", "[::1]:8080", false},
		{"tcp families", tcp, "::", "0.0.0.0:8080", true},
		{"udp all", udp, "0.0.0.0", "0.0.0.0:8080", false},
		{"udp all against one", udp, "0.0.0.0", "127.0.0.1:8080", false},
		{"udp ipv6", udp, "::", "[::1]:8080", false},
		{"protocols", udp, "0.0.0.0", "0.0.0.0:8081", true},
	}
	for _, tt := range tests {
		for _, reuse := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s reuse=%v", tt.name, reuse), func(t *testing.T) {
				nstest.Run(t, func() {
					var h hostport.Holder
					hold, err := h.Reserve(t.Context(), tt.proto, netip.MustParseAddr(tt.host), 8080, 8080)
					if err != nil {
						t.Fatal(err)
					}
					done, err := foreign(tt.proto, tt.foreign, reuse)
					if (err == nil) != tt.free {
						t.Errorf("a foreign listener got %v, want free %v", err, tt.free)
					}
					if err != nil && !errors.Is(err, unix.EADDRINUSE) {
						t.Errorf("a foreign listener got %v, want EADDRINUSE", err)
					}
					if done != nil {
						done()
					}
					for range 2 {
						if err := hold.Close(); err != nil {
							t.Error(err)
						}
					}
					done, err = foreign(tt.proto, tt.foreign, false)
					if err != nil {
						t.Fatalf("after release: %v", err)
					}
					done()
				})
			})
		}
	}
}

func TestReserveNamesTheHolder(t *testing.T) {
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	who := fmt.Sprintf("held by %s (pid %d)", strings.TrimSpace(string(comm)), os.Getpid())
	for _, tt := range []struct {
		name        string
		proto       uint8
		foreign     string
		host        string
		first, last uint16
		want        string
	}{
		{"11 tcp", tcp, "0.0.0.0:8080", "0.0.0.0", 8080, 8080, "tcp port 0.0.0.0:8080 is in use: "},
		{"11 udp", udp, "127.0.0.1:8080", "0.0.0.0", 8080, 8080, "udp port 0.0.0.0:8080 is in use: "},
		{"11 range", tcp, "0.0.0.0:8085", "127.0.0.1", 8080, 8090, "tcp port 127.0.0.1:8085 is in use: "},
		{"11 long range", tcp, "127.0.0.1:9999", "0.0.0.0", 8080, 13079, "tcp port 0.0.0.0:9999 is in use: "},
		{"11 long udp range", udp, "0.0.0.0:9999", "0.0.0.0", 8080, 13079, "udp port 0.0.0.0:9999 is in use: "},
		{"11 ipv6", tcp, "[::1]:8080", "::", 8080, 8080, "tcp port [::]:8080 is in use: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			nstest.Run(t, func() {
				done, err := foreign(tt.proto, tt.foreign, true)
				if err != nil {
					t.Fatal(err)
				}
				defer done()
				var h hostport.Holder
				_, err = h.Reserve(t.Context(), tt.proto, netip.MustParseAddr(tt.host), tt.first, tt.last)
				if err == nil {
					t.Fatal("reserved")
				}
				if _, ok := err.(types.ForbiddenError); !ok {
					t.Errorf("%T is not Forbidden", err)
				}
				if !errors.Is(err, unix.EADDRINUSE) {
					t.Errorf("%v is not EADDRINUSE", err)
				}
				if want := tt.want + who; !strings.HasPrefix(err.Error(), want) {
					t.Errorf("got  %s\nwant %s", err, want)
				}
			})
		})
	}
}

func TestReserveOverlap(t *testing.T) {
	for _, proto := range []uint8{tcp, udp} {
		for _, order := range [][]string{{"0.0.0.0", "127.0.0.1", "127.0.0.2"}, {"127.0.0.1", "127.0.0.2", "0.0.0.0"}, {"127.0.0.1", "0.0.0.0", "127.0.0.2"}} {
			t.Run(fmt.Sprintf("38 wildcard plus specific %d %v", proto, order), func(t *testing.T) {
				nstest.Run(t, func() {
					var h hostport.Holder
					var holds []*hostport.Hold
					for _, a := range order {
						hold, err := h.Reserve(t.Context(), proto, netip.MustParseAddr(a), 8080, 8080)
						if err != nil {
							t.Fatalf("%s: %v", a, err)
						}
						holds = append(holds, hold)
					}
					for i, hold := range holds {
						if hold.How() != hostport.Held {
							t.Errorf("%s is %s", order[i], hold.How())
						}
						if done, err := foreign(proto, order[i]+":8080", true); err == nil {
							done()
							t.Errorf("a foreign listener got %s", order[i])
						}
						if err := hold.Close(); err != nil {
							t.Error(err)
						}
					}
				})
			})
		}
	}
}

func TestReserveQueuesNothing(t *testing.T) {
	nstest.Run(t, func() {
		var h hostport.Holder
		hold, err := h.Reserve(t.Context(), udp, netip.MustParseAddr("127.0.0.1"), 8080, 8080)
		if err != nil {
			t.Fatal(err)
		}
		defer hold.Close()
		c, err := net.Dial("udp4", "127.0.0.1:8080")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for range 10 {
			if _, err := c.Write(make([]byte, 1000)); err != nil {
				t.Fatal(err)
			}
		}
		text, err := os.ReadFile("/proc/thread-self/net/udp")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.SplitSeq(string(text), "\n") {
			if strings.Contains(line, "0100007F:1F90 00000000:0000") && !strings.Contains(line, "00000000:00000000") {
				t.Errorf("something queues: %s", line)
			}
		}
	})
}

func TestReserveErrors(t *testing.T) {
	nstest.Run(t, func() {
		var h hostport.Holder
		_, err := h.Reserve(t.Context(), tcp, netip.MustParseAddr("192.0.2.1"), 80, 80)
		if _, ok := err.(types.BadRequestError); !ok || !errors.Is(err, unix.EADDRNOTAVAIL) {
			t.Errorf("an address that the host does not have: %v", err)
		}
		_, err = h.Reserve(t.Context(), 1, netip.MustParseAddr("127.0.0.1"), 80, 80)
		if _, ok := err.(types.BadRequestError); !ok {
			t.Errorf("an unknown protocol: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err = h.Reserve(ctx, tcp, netip.MustParseAddr("127.0.0.1"), 80, 80); !errors.Is(err, context.Canceled) {
			t.Errorf("a cancelled context: %v", err)
		}
		h.Steps = step.New(func(int, string) error { return step.ErrInjected })
		if _, err = h.Reserve(t.Context(), tcp, netip.MustParseAddr("127.0.0.1"), 80, 80); !errors.Is(err, step.ErrInjected) {
			t.Errorf("an injected failure: %v", err)
		}
		h.Steps = nil
		hold, err := h.Reserve(t.Context(), sctp, netip.MustParseAddr("127.0.0.1"), 80, 80)
		if err != nil {
			t.Fatalf("sctp: %v", err)
		}
		if hold.How() != hostport.RuleOnly && hold.How() != hostport.Held {
			t.Errorf("sctp is %s", hold.How())
		}
		if err := hold.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A port that was published before is held on an address that the host has not, and
// serves it as soon as it comes.
func TestResumeBeforeTheAddress(t *testing.T) {
	for _, addr := range []string{"192.0.2.1", "2001:db8::1"} {
		for _, proto := range []uint8{tcp, udp} {
			t.Run(fmt.Sprintf("%d %s", proto, addr), func(t *testing.T) {
				nstest.Run(t, func() {
					var h hostport.Holder
					at := netip.AddrPortFrom(netip.MustParseAddr(addr), 8080)
					hold, err := h.Resume(t.Context(), proto, at.Addr(), 8080, 8080, false)
					if err != nil {
						t.Fatal(err)
					}
					defer hold.Close()
					if hold.How() != hostport.Held {
						t.Errorf("it is %s", hold.How())
					}
					f, err := h.Serve(proto, at, false)
					if err != nil {
						t.Fatal(err)
					}
					defer f.Close()
					if _, err := h.Resume(t.Context(), proto, at.Addr(), 9000, 9009, false); err != nil {
						t.Errorf("a range: %v", err)
					}
					if out, err := exec.Command("ip", "addr", "add", addr, "dev", "lo").CombinedOutput(); err != nil {
						t.Fatalf("ip addr add: %v: %s", err, out)
					}
					for range 100 { // the kernel takes its time
						if err = reach(proto, at, f); err == nil {
							break
						}
						time.Sleep(50 * time.Millisecond)
					}
					if err != nil {
						t.Errorf("with the address: %v", err)
					}
					if _, err := foreign(proto, at.String(), true); !errors.Is(err, unix.EADDRINUSE) {
						t.Errorf("a foreign listener got %v, want EADDRINUSE", err)
					}
				})
			})
		}
	}
}

// reach connects to a socket, or sends it a datagram that it gets.
func reach(proto uint8, at netip.AddrPort, f *os.File) error {
	if proto == tcp {
		c, err := net.DialTimeout("tcp", at.String(), time.Second)
		if err != nil {
			return err
		}
		return c.Close()
	}
	c, err := net.Dial("udp", at.String())
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write([]byte("hello")); err != nil {
		return err
	}
	in, err := net.FilePacketConn(f)
	if err != nil {
		return err
	}
	defer in.Close()
	_ = in.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	_, _, err = in.ReadFrom(make([]byte, 8))
	return err
}

func TestResumeBeyondTheLimit(t *testing.T) {
	nstest.Run(t, func() {
		h := hostport.Holder{Limit: -1}
		for i, want := range []hostport.How{hostport.Checked, hostport.Held} {
			hold, err := h.Resume(t.Context(), tcp, netip.IPv6Unspecified(), uint16(8000+i), uint16(8000+i), want == hostport.Held)
			if err != nil {
				t.Fatal(err)
			}
			defer hold.Close()
			if hold.How() != want {
				t.Errorf("it is %s, want %s", hold.How(), want)
			}
		}
	})
}

func TestReserveLimit(t *testing.T) {
	for _, tt := range []struct {
		name  string
		limit int
		ports int
		held  int
	}{
		{"up to the limit", 3, 5, 3},
		{"none", -1, 2, 0},
		{"by default", 0, hostport.DefaultLimit + 2, hostport.DefaultLimit},
	} {
		t.Run("single ports are held up to the limit and checked above it: "+tt.name, func(t *testing.T) {
			nstest.Run(t, func() {
				h := hostport.Holder{Limit: tt.limit}
				host, held := netip.IPv4Unspecified(), 0
				var last *hostport.Hold
				for i := range tt.ports {
					hold, err := h.Reserve(t.Context(), tcp, host, uint16(8000+i), uint16(8000+i))
					if err != nil {
						t.Fatal(err)
					}
					defer hold.Close()
					done, err := foreign(tcp, fmt.Sprintf("0.0.0.0:%d", 8000+i), true)
					if done != nil {
						done()
					}
					switch hold.How() {
					case hostport.Held:
						held++
						last = hold
						if err == nil {
							t.Errorf("port %d is held, and another program got it", 8000+i)
						}
					case hostport.Checked:
						if err != nil {
							t.Errorf("port %d is checked, and not free: %v", 8000+i, err)
						}
					default:
						t.Errorf("port %d is %s", 8000+i, hold.How())
					}
				}
				if held != tt.held {
					t.Errorf("%d are held, want %d", held, tt.held)
				}
				done, err := foreign(tcp, "0.0.0.0:7000", true)
				if err != nil {
					t.Fatal(err)
				}
				defer done()
				if _, err := h.Reserve(t.Context(), tcp, host, 7000, 7000); !errors.Is(err, unix.EADDRINUSE) {
					t.Errorf("a port of another program above the limit: %v", err)
				}
				if last == nil {
					return
				}
				if err := last.Close(); err != nil {
					t.Fatal(err)
				}
				hold, err := h.Reserve(t.Context(), udp, host, 8000, 8000)
				if err != nil {
					t.Fatal(err)
				}
				defer hold.Close()
				if hold.How() != hostport.Held {
					t.Errorf("after one was given back the next is %s", hold.How())
				}
			})
		})
	}
}

func TestReserveRange(t *testing.T) {
	nstest.Run(t, func() {
		var h hostport.Holder
		for _, proto := range []uint8{tcp, udp} {
			hold, err := h.Reserve(t.Context(), proto, netip.IPv4Unspecified(), 8000, 8001)
			if err != nil {
				t.Fatal(err)
			}
			if hold.How() != hostport.Checked {
				t.Errorf("a range is %s", hold.How())
			}
			if err := hold.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

// A range is refused on an address that the host does not have, as a single port is.
func TestReserveRangeLikeOne(t *testing.T) {
	nstest.Run(t, func() {
		var h hostport.Holder
		reserve := func(proto uint8, host string, first, last uint16) error {
			hold, err := h.Reserve(t.Context(), proto, netip.MustParseAddr(host), first, last)
			if err == nil {
				err = hold.Close()
			}
			return err
		}
		for _, host := range []string{"192.0.2.200", "2001:db8::200"} {
			for _, proto := range []uint8{tcp, udp} {
				one, many := reserve(proto, host, 8100, 8100), reserve(proto, host, 8100, 8105)
				for _, err := range []error{one, many} {
					if _, ok := err.(types.BadRequestError); !ok || !strings.Contains(err.Error(), "does not have the address "+host) {
						t.Errorf("on an address that the host does not have: %v", err)
					}
				}
			}
		}
	})
}

// An address of many machines is none to publish ports at.
func TestReserveAtMany(t *testing.T) {
	nstest.Run(t, func() {
		for _, args := range []string{"link set lo up", "addr add 192.0.2.1/24 dev lo", "route add prohibit 198.51.100.7"} {
			if out, err := exec.CommandContext(t.Context(), "ip", strings.Fields(args)...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
		var h hostport.Holder
		for host, want := range map[string]string{
			"192.0.2.1": "", "127.0.0.1": "", "0.0.0.0": "", "::": "", "::ffff:192.0.2.1": "",
			"255.255.255.255": "many machines", "127.255.255.255": "many machines", "224.0.0.1": "many machines", "ff02::1": "many machines",
			"198.51.100.7": "does not have the address",
		} {
			for _, last := range []uint16{8100, 8105} {
				hold, err := h.Reserve(t.Context(), tcp, netip.MustParseAddr(host), 8100, last)
				switch {
				case err == nil:
					_ = hold.Close()
					if want != "" {
						t.Errorf("ports up to %d of %s can be reserved", last, host)
					}
				case want == "" || !errors.As(err, new(types.BadRequestError)) || !strings.Contains(err.Error(), want):
					t.Errorf("ports up to %d of %s: %v", last, host, err)
				}
			}
		}
	})
}

// Of the ports that are busy those that we hold ourselves are not.
func TestBusy(t *testing.T) {
	nstest.Run(t, func() {
		var h hostport.Holder
		all := []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
		for _, proto := range []uint8{tcp, udp} {
			for i, addr := range []string{"127.0.0.1:8000", "0.0.0.0:8001", "[::1]:8002"} {
				done, err := foreign(proto, addr, true)
				if err != nil {
					t.Fatal(i, err)
				}
				defer done()
			}
			hold, err := h.Reserve(t.Context(), proto, all[0], 8003, 8003)
			if err != nil {
				t.Fatal(err)
			}
			defer hold.Close()
			busy, err := h.Busy(t.Context(), proto, all)
			if err != nil || len(busy) != 3 || !busy[8000] || !busy[8001] || !busy[8002] {
				t.Errorf("protocol %d: %v are busy, %v", proto, busy, err)
			}
		}
	})
}

func BenchmarkReserve(b *testing.B) {
	nstest.Run(b, func() {
		for _, bench := range []struct {
			name        string
			first, last uint16
		}{{"one", 8080, 8080}, {"ten", 8080, 8089}, {"range5000", 8000, 12999}} {
			b.Run(bench.name, func(b *testing.B) {
				var h hostport.Holder
				for b.Loop() {
					hold, err := h.Reserve(b.Context(), tcp, netip.IPv4Unspecified(), bench.first, bench.last)
					if err != nil {
						b.Fatal(err)
					}
					if err := hold.Close(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	})
}
