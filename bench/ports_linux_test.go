package bench_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libnetwork/libnetwork"
	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/internal/kernel"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/types"
)

// sizes are how many ports are published already.
var sizes = []int{0, 1000, 10_000, 50_000}

// firstPort is the first of the ports that are published already.
const firstPort = 10_000

var target = netip.MustParseAddr("172.30.0.2")

func single(port int, owner string) model.Port {
	return model.Port{
		Proto: uint8(types.TCP), Host: netip.IPv4Unspecified(), First: uint16(port), Last: uint16(port),
		Addr: target, Port: 80, Owner: owner,
	}
}

// A machine is a kernel in a namespace of its own.
type machine struct {
	ns *nstest.NS
	k  *kernel.Kernel
}

// do runs f in the machine's namespace.
func (m machine) do(b *testing.B, f func() error) {
	b.Helper()
	if err := m.ns.Do(f); err != nil {
		b.Fatal(err)
	}
}

// published makes a machine with a network and so many single ports.
func published(b *testing.B, ports int) machine {
	b.Helper()
	nstest.Require(b, nstest.Root, nstest.NFTables)
	ctx := context.Background()
	run := b.TempDir()
	m := machine{ns: nstest.New(b)}
	m.do(b, func() (err error) {
		m.k, err = kernel.New(ctx, kernel.Config{DataDir: b.TempDir(), RunDir: run})
		return err
	})
	k := m.k
	objs := []model.Object{model.FirewallNetwork{ID: "bench", Bridge: "bench0", V4: &model.FirewallFamily{
		Subnets: []netip.Prefix{netip.MustParsePrefix("172.30.0.0/16")}, Masquerade: true, ICC: true,
	}}}
	if err := k.Create(ctx, objs); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := k.Delete(ctx, objs); err != nil {
			b.Error(err)
		}
		if err := k.Close(); err != nil {
			b.Error(err)
		}
		if err := netns.RemoveDir(nil, filepath.Join(run, "netns")); err != nil {
			b.Error(err)
		}
	})
	list := make([]model.Object, ports)
	for i := range list {
		list[i] = single(firstPort+i, "others")
	}
	for len(list) > 0 {
		n := min(len(list), 10_000)
		if err := k.Create(ctx, list[:n]); err != nil {
			b.Fatal(err)
		}
		list = list[n:]
	}
	return m
}

// publish is what one container's port, or range, takes of the kernel: the socket
// or the look at those of others, and the rule.
func (m machine) publish(b *testing.B, p model.Port) (there, gone time.Duration) {
	b.Helper()
	ctx := context.Background()
	m.do(b, func() error {
		begin := time.Now()
		kept, err := m.k.Hold(ctx, p)
		if err != nil {
			return err
		}
		err = m.k.Create(ctx, []model.Object{p})
		there = time.Since(begin)
		if err != nil {
			return err
		}
		begin = time.Now()
		err = errors.Join(m.k.Delete(ctx, []model.Object{p}), kept.Close())
		gone = time.Since(begin)
		return err
	})
	return there, gone
}

// BenchmarkPublish publishes one port, and takes it back, beside those that are
// published already. The sizes take turns, so that they can be compared.
func BenchmarkPublish(b *testing.B) {
	medians(b, func(m machine) (time.Duration, time.Duration) { return m.publish(b, single(80, "one")) })
}

// BenchmarkPublishRange publishes a range of 5000 ports: one that keeps its numbers,
// which is one element, and one that shifts them, which is one a port.
func BenchmarkPublishRange(b *testing.B) {
	for _, shift := range []int{0, 1} {
		b.Run([]string{"same", "shifted"}[shift], func(b *testing.B) {
			m := published(b, 0)
			p := single(20_000, "one")
			p.Last, p.Port = p.First+4999, p.First+uint16(shift)
			var there, gone []time.Duration
			for range b.N {
				t, g := m.publish(b, p)
				there, gone = append(there, t), append(gone, g)
			}
			report(b, there, gone)
		})
	}
}

func report(b *testing.B, there, gone []time.Duration) {
	b.Helper()
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(us(median(there)), "publish-us")
	b.ReportMetric(us(median(gone)), "unpublish-us")
}

// medians runs op at each size in turns and reports each beside the empty one.
func medians(b *testing.B, op func(machine) (time.Duration, time.Duration)) {
	b.Helper()
	there, gone := make([][]time.Duration, len(sizes)), make([][]time.Duration, len(sizes))
	var machines []machine
	for _, n := range sizes {
		machines = append(machines, published(b, n))
	}
	for range max(b.N, 100) {
		for i, m := range machines {
			t, g := op(m)
			there[i], gone[i] = append(there[i], t), append(gone[i], g)
		}
	}
	for i, n := range sizes {
		b.Run(fmt.Sprintf("published=%d", n), func(b *testing.B) {
			report(b, there[i], gone[i])
			b.ReportMetric(float64(median(there[i]))/float64(median(there[0])), "publish/empty")
		})
	}
}

// BenchmarkConnections opens connections from another machine through a published
// port beside those that are published already.
func BenchmarkConnections(b *testing.B) {
	nstest.Require(b, nstest.Root, nstest.Bridge, nstest.Veth, nstest.NFTables)
	c, n := newNetwork(b)
	lan := neighbour(b)
	ep, err := n.CreateEndpoint("server")
	if err != nil {
		b.Fatal(err)
	}
	one := types.PortBinding{Proto: types.TCP, Port: 80, HostPort: 80}
	sb, err := c.NewSandbox("server", libnetwork.OptionPortMapping([]types.PortBinding{one}))
	if err != nil {
		b.Fatal(err)
	}
	if err := ep.Join(sb); err != nil {
		b.Fatal(err)
	}
	serve(b, sb.Key())
	const others = "/proc/sys/net/ipv4/ip_forward"
	if err := os.WriteFile(others, []byte("1"), 0o644); err != nil {
		b.Fatal(err)
	}
	var none time.Duration
	for i, size := range sizes {
		more := crowd(b, c, n, size)
		b.Run(fmt.Sprintf("published=%d", size), func(b *testing.B) {
			took := make([]time.Duration, max(b.N, 100))
			for j := range took {
				took[j] = clock(func() { visit(b, lan) })
			}
			if i == 0 {
				none = median(took)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(time.Second)/float64(median(took)), "connections/s")
			b.ReportMetric(float64(median(took))/float64(none), "empty/rate")
		})
		more()
	}
	if err := sb.Delete(); err != nil {
		b.Error(err)
	}
}

// crowd publishes single ports for another container, and returns what takes them
// back.
func crowd(b *testing.B, c libnetwork.NetworkController, n libnetwork.Network, ports int) func() {
	b.Helper()
	if ports == 0 {
		return func() {}
	}
	list := make([]types.PortBinding, ports)
	for i := range list {
		list[i] = types.PortBinding{Proto: types.TCP, Port: uint16(1 + i), HostPort: uint16(firstPort + i)}
	}
	ep, err := n.CreateEndpoint("crowd")
	if err != nil {
		b.Fatal(err)
	}
	sb, err := c.NewSandbox("crowd", libnetwork.OptionPortMapping(list))
	if err != nil {
		b.Fatal(err)
	}
	if err := ep.Join(sb); err != nil {
		b.Fatal(err)
	}
	return func() {
		if err := sb.Delete(); err != nil {
			b.Error(err)
		}
	}
}

// BenchmarkPortMemory is what the process remembers of published ports: of single
// ones and of those of a range that is shifted, in the daemon; and of single ones in a
// program that uses the library, which keeps the caller's options beside that.
func BenchmarkPortMemory(b *testing.B) {
	nstest.Require(b, nstest.Root, nstest.Bridge, nstest.Veth, nstest.NFTables)
	const ports = 20_000
	wish := func(first, last uint16) model.Publish {
		return model.Publish{
			Proto: uint8(types.TCP), First: first, Last: last, Port: first - 1, PortLast: last - 1,
		}
	}
	for name, wishes := range map[string]func() []model.Publish{
		"single": func() (list []model.Publish) {
			for i := range ports {
				list = append(list, wish(uint16(firstPort+i), uint16(firstPort+i)))
			}
			return slices.Clip(list)
		},
		"range": func() []model.Publish { return []model.Publish{wish(firstPort, firstPort+ports-1)} },
	} {
		b.Run("daemon/"+name, func(b *testing.B) {
			e, release, err := keepAlive(b.TempDir() + ":" + b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			ctx := context.Background()
			n, err := e.CreateNetwork(ctx, engine.NetworkRequest{Driver: "bridge", Name: "bench"})
			if err != nil {
				b.Fatal(err)
			}
			before := heap()
			s, err := e.CreateContainer(ctx, engine.SandboxRequest{ContainerID: "crowd", Publish: wishes()},
				[]engine.AttachRequest{{Network: n, Endpoint: engine.EndpointRequest{Name: "crowd"}}})
			if err != nil {
				b.Fatal(err)
			}
			used := float64(heap()) - float64(before)
			dir := filepath.Dir(s.Record().Key)
			if err := errors.Join(s.Delete(ctx), n.Delete(ctx), release(), netns.RemoveDir(nil, dir)); err != nil {
				b.Error(err)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(used/ports, "B/port")
		})
	}
	b.Run("library/single", func(b *testing.B) {
		c, n := newNetwork(b)
		before := heap()
		forget := crowd(b, c, n, ports)
		used := float64(heap()) - float64(before)
		forget()
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(used/ports, "B/port")
	})
}

// neighbour makes another machine, 192.0.2.9, beside this one, 192.0.2.1.
func neighbour(b *testing.B) *nstest.NS {
	b.Helper()
	lan := nstest.New(b)
	for _, line := range []string{
		"link add lan0 type veth peer name eth0 netns " + lan.Path(), "addr add 192.0.2.1/24 dev lan0", "link set lan0 up",
	} {
		command(b, strings.Fields("ip "+line)...)
	}
	err := lan.Do(func() error {
		for _, line := range []string{"addr add 192.0.2.9/24 dev eth0", "link set eth0 up"} {
			if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
				return fmt.Errorf("ip %s: %w: %s", line, err, out)
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return lan
}

func command(b *testing.B, args ...string) {
	b.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		b.Fatalf("%s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// serve accepts connections inside a namespace and closes them.
func serve(b *testing.B, key string) {
	b.Helper()
	ns, err := netns.Open(nil, filepath.Clean(key))
	if err != nil {
		b.Fatal(err)
	}
	l, err := ns.ListenTCP(netip.MustParseAddrPort("0.0.0.0:80"))
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	b.Cleanup(func() {
		_ = l.Close()
		<-done
		_ = ns.Close()
	})
}

// visit opens a connection and waits until the server has closed it.
func visit(b *testing.B, from *nstest.NS) {
	b.Helper()
	err := from.Do(func() error {
		c, err := net.Dial("tcp4", "192.0.2.1:80")
		if err != nil {
			return err
		}
		defer c.Close()
		_, _ = c.Read(make([]byte, 1))
		return c.(*net.TCPConn).SetLinger(0)
	})
	if err != nil {
		b.Fatal(err)
	}
}

func us(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
