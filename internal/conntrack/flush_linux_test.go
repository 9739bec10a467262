package conntrack_test

import (
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/ti-mo/conntrack"

	ct "github.com/libnetwork/libnetwork/internal/conntrack"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/internal/step"
)

func TestMain(m *testing.M) { nstest.Main(m) }

// A connection is an entry: original source and destination, reply source.
type connection struct {
	name             string
	proto            uint8
	src, dst, answer netip.AddrPort
}

func track(t testing.TB, proto uint8, src, dst, answer string) connection {
	t.Helper()
	return connection{
		name: src + ">" + dst, proto: proto,
		src: netip.MustParseAddrPort(src), dst: netip.MustParseAddrPort(dst), answer: netip.MustParseAddrPort(answer),
	}
}

// fill puts entries into the namespace of the calling thread.
func fill(t testing.TB, list []connection) {
	t.Helper()
	c, err := conntrack.Dial(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, e := range list {
		f := conntrack.NewFlow(e.proto, conntrack.StatusAssured|conntrack.StatusSeenReply|conntrack.StatusConfirmed,
			e.src.Addr(), e.dst.Addr(), e.src.Port(), e.dst.Port(), 600, 0)
		f.TupleReply.IP.SourceAddress = e.answer.Addr()
		f.TupleReply.Proto.SourcePort = e.answer.Port()
		if err := c.Create(f); err != nil {
			t.Fatalf("%s: %v", e.name, err)
		}
	}
}

func left(t testing.TB) map[string]bool {
	t.Helper()
	c, err := conntrack.Dial(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	flows, err := c.Dump(nil)
	if err != nil {
		t.Fatal(err)
	}
	set := map[string]bool{}
	for _, f := range flows {
		o := f.TupleOrig
		set[netip.AddrPortFrom(o.IP.SourceAddress, o.Proto.SourcePort).String()+">"+
			netip.AddrPortFrom(o.IP.DestinationAddress, o.Proto.DestinationPort).String()] = true
	}
	return set
}

func port(proto uint8, host string, first, last uint16, addr string, to uint16) model.Port {
	return model.Port{
		Proto: proto, Host: netip.MustParseAddr(host), First: first, Last: last,
		Addr: netip.MustParseAddr(addr), Port: to,
	}
}

func TestFlush(t *testing.T) {
	nstest.Require(t, nstest.Conntrack)
	entries := func(t *testing.T) []connection {
		return []connection{
			track(t, 17, "10.0.0.9:1000", "192.0.2.1:53", "172.17.0.2:5353"),
			track(t, 17, "10.0.0.9:1001", "192.0.2.1:53", "192.0.2.1:53"),         // before the port was published
			track(t, 17, "172.17.0.3:1002", "198.51.100.1:53", "198.51.100.1:53"), // passes through
			track(t, 6, "10.0.0.9:1003", "192.0.2.1:53", "172.17.0.2:5353"),
			track(t, 17, "10.0.0.9:1004", "172.17.0.2:5353", "172.17.0.2:5353"),
			track(t, 17, "10.0.0.9:1005", "127.0.0.1:53", "127.0.0.1:53"),
			track(t, 17, "10.0.0.9:1006", "192.0.2.1:5353", "192.0.2.1:5353"),
			track(t, 17, "[2001:db8::9]:1000", "[2001:db8::1]:53", "[fd00::2]:5353"),
			track(t, 17, "[2001:db8::9]:1001", "[2001:db8::7]:53", "[2001:db8::7]:53"),
		}
	}
	tests := []struct {
		name   string
		filter ct.Filter
		gone   []int
	}{
		{"nothing", ct.Filter{}, nil},
		{"moby 53384: by the port of the host, not of the container", ct.Filter{Ports: []model.Port{port(17, "0.0.0.0", 53, 53, "172.17.0.2", 5353)}}, []int{0, 1, 5}},
		{"one host address", ct.Filter{Ports: []model.Port{port(17, "192.0.2.1", 53, 53, "172.17.0.2", 5353)}}, []int{0, 1}},
		{"tcp", ct.Filter{Ports: []model.Port{port(6, "0.0.0.0", 53, 53, "172.17.0.2", 5353)}}, []int{3}},
		{"range", ct.Filter{Ports: []model.Port{port(17, "192.0.2.1", 50, 6000, "172.17.0.2", 50)}}, []int{0, 1, 6}},
		{"container", ct.Filter{Addrs: []netip.Addr{netip.MustParseAddr("172.17.0.2")}}, []int{0, 3, 4}},
		{"client container", ct.Filter{Addrs: []netip.Addr{netip.MustParseAddr("172.17.0.3")}}, []int{2}},
		{"ipv6 all", ct.Filter{Ports: []model.Port{port(17, "::", 53, 53, "fd00::2", 5353)}}, []int{7}},
		{"ipv6 one host address", ct.Filter{Ports: []model.Port{port(17, "2001:db8::1", 53, 53, "fd00::2", 5353)}}, []int{7}},
		{"ipv6 container", ct.Filter{Addrs: []netip.Addr{netip.MustParseAddr("fd00::2")}}, []int{7}},
		{"both families", ct.Filter{
			Addrs: []netip.Addr{netip.MustParseAddr("fd00::2"), netip.MustParseAddr("172.17.0.3")},
			Ports: []model.Port{port(6, "192.0.2.1", 53, 53, "172.17.0.2", 5353)},
		}, []int{2, 3, 7}},
		{"more than filters", ct.Filter{
			Addrs: []netip.Addr{
				netip.MustParseAddr("172.17.0.3"), netip.MustParseAddr("172.17.0.4"), netip.MustParseAddr("172.17.0.5"),
				netip.MustParseAddr("172.17.0.6"), netip.MustParseAddr("172.17.0.7"),
			},
		}, []int{2}},
	}
	for _, filters := range []bool{true, false} {
		name := "by filter"
		if !filters {
			name = "by dump, as before Linux 6.9"
		}
		t.Run(name, func(t *testing.T) {
			for _, tt := range tests {
				t.Run(tt.name, func(t *testing.T) { testFlush(t, entries(t), tt.filter, tt.gone, filters) })
			}
		})
	}
}

func testFlush(t *testing.T, list []connection, filter ct.Filter, want []int, filters bool) {
	t.Helper()
	nstest.Run(t, func() {
		command(t, "ip", "addr", "add", "192.0.2.1/24", "dev", "lo")
		fill(t, list)
		if got := len(left(t)); got != len(list) {
			t.Fatalf("%d entries made, want %d", got, len(list))
		}
		var f ct.Flusher
		if !filters {
			f.WithoutFilters()
		}
		if err := f.Flush(t.Context(), filter); err != nil {
			t.Fatal(err)
		}
		if filters && !f.DeletesByFilter() {
			t.Log("this kernel cannot delete by filter")
		}
		gone := map[int]bool{}
		for _, i := range want {
			gone[i] = true
		}
		there := left(t)
		for i, e := range list {
			if there[e.name] == gone[i] {
				t.Errorf("%d %s: there %v, want %v", i, e.name, there[e.name], !gone[i])
			}
		}
	})
}

func TestFlushEmpty(t *testing.T) {
	nstest.Run(t, func() {
		steps := step.New(nil)
		f := ct.Flusher{Steps: steps}
		if err := f.Flush(t.Context(), ct.Filter{Addrs: []netip.Addr{netip.MustParseAddr("172.17.0.2")}}); err != nil {
			t.Fatal(err)
		}
		if steps.Count() != 0 {
			t.Errorf("%d deletions where no connection is tracked", steps.Count())
		}
	})
}

func command(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func BenchmarkFlush(b *testing.B) {
	for _, n := range []int{1, 10_000} {
		for _, bench := range []struct {
			name   string
			filter ct.Filter
		}{
			{"port", ct.Filter{Ports: []model.Port{port(17, "0.0.0.0", 53, 53, "172.17.0.2", 53)}}},
			{"address", ct.Filter{Addrs: []netip.Addr{netip.MustParseAddr("172.17.0.2")}}},
			{"range", ct.Filter{Ports: []model.Port{port(17, "0.0.0.0", 53, 60, "172.17.0.2", 53)}}},
		} {
			b.Run(fmt.Sprintf("%s/entries=%d", bench.name, n), func(b *testing.B) {
				nstest.Run(b, func() {
					var list []connection
					for i := range n {
						list = append(list, connection{
							proto: 17, src: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 1000),
							dst: netip.MustParseAddrPort("198.51.100.1:80"), answer: netip.MustParseAddrPort("198.51.100.1:80"),
						})
					}
					fill(b, list)
					var f ct.Flusher
					for b.Loop() {
						if err := f.Flush(b.Context(), bench.filter); err != nil {
							b.Fatal(err)
						}
					}
				})
			})
		}
	}
}
