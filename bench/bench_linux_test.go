package bench_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/libnetwork/libnetwork"
	"github.com/libnetwork/libnetwork/config"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/internal/rtnl"
	"github.com/libnetwork/libnetwork/netlabel"
	"github.com/libnetwork/libnetwork/types"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	if dirs := os.Getenv(crowdEnv); dirs != "" {
		crowded(dirs)
	}
	nstest.Main(m)
}

// BenchmarkContainer brings containers up, one after the other or several at a
// time, keeps them, and takes them down again.
func BenchmarkContainer(b *testing.B) {
	for _, parallel := range []int{1, 8} {
		for _, ports := range []int{0, 10} {
			b.Run(fmt.Sprintf("parallel=%d/ports=%d", parallel, ports), func(b *testing.B) {
				benchContainers(b, parallel, ports)
			})
		}
	}
}

func benchContainers(b *testing.B, parallel, ports int) {
	b.Helper()
	nstest.Require(b, nstest.Root, nstest.Bridge, nstest.Veth, nstest.NFTables)
	c, n := newNetwork(b)
	fl := newFloor(b)
	count := b.N
	floor := make([]time.Duration, count)
	up, down := make([]time.Duration, count), make([]time.Duration, count)
	sandboxes := make([]libnetwork.Sandbox, count)

	b.ResetTimer()
	for i := range count {
		floor[i] = clock(func() { fl.up(b, i) })
		if parallel == 1 {
			up[i] = clock(func() { sandboxes[i] = start(b, c, n, i, ports) })
		}
	}
	wallUp, cpuUp := time.Duration(0), time.Duration(0)
	if parallel > 1 {
		wallUp, cpuUp = each(parallel, count, func(i int) {
			up[i] = clock(func() { sandboxes[i] = start(b, c, n, i, ports) })
		})
	} else {
		for _, d := range up {
			wallUp += d
		}
	}
	memory := heap()
	wallDown, _ := each(parallel, count, func(i int) {
		down[i] = clock(func() {
			if err := sandboxes[i].Delete(); err != nil {
				b.Error(err)
			}
		})
	})
	b.StopTimer()
	fl.down(b)

	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ms(median(floor)), "floor-ms")
	b.ReportMetric(ms(median(up)), "up-ms")
	b.ReportMetric(ms(median(down)), "down-ms")
	b.ReportMetric(float64(median(up))/float64(median(floor)), "up/floor")
	b.ReportMetric(float64(count)/wallUp.Seconds(), "up/s")
	b.ReportMetric(float64(count)/wallDown.Seconds(), "down/s")
	if cpuUp > 0 {
		b.ReportMetric(ms(cpuUp)/float64(count), "cpu-ms/up")
	}
	b.ReportMetric(float64(memory)/1e6, "heap-MB")
}

// BenchmarkTenPorts brings containers without ports and with ten up and down in
// turns, so that what ten ports cost is no difference of two runs: a file system
// that has just lost a thousand files is slow to make new ones.
func BenchmarkTenPorts(b *testing.B) {
	nstest.Require(b, nstest.Root, nstest.Bridge, nstest.Veth, nstest.NFTables)
	c, n := newNetwork(b)
	const ports = 10
	var up, down [2][]time.Duration // without and with ports
	var sandboxes [2][]libnetwork.Sandbox
	b.ResetTimer()
	for i := range b.N {
		for with := range 2 {
			up[with] = append(up[with], clock(func() {
				sandboxes[with] = append(sandboxes[with], start(b, c, n, 2*i+with, with*ports))
			}))
		}
	}
	for i := range b.N {
		for with := range 2 {
			down[with] = append(down[with], clock(func() {
				if err := sandboxes[with][i].Delete(); err != nil {
					b.Error(err)
				}
			}))
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ms(median(up[0])), "up-ms")
	b.ReportMetric(ms(median(down[0])), "down-ms")
	b.ReportMetric(ms(median(up[1])-median(up[0])), "ports-up-ms")
	b.ReportMetric(ms(median(down[1])-median(down[0])), "ports-down-ms")
}

// BenchmarkBesidePorts starts and ends containers with one published port, in turns beside
// none and beside four containers with 5000 ports each: with the records of both.
func BenchmarkBesidePorts(b *testing.B) {
	nstest.Require(b, nstest.Root, nstest.Bridge, nstest.Veth, nstest.NFTables)
	const ports, many = 5000, 4
	type host struct {
		c libnetwork.NetworkController
		n libnetwork.Network
	}
	var hosts [2]host
	for i := range hosts {
		hosts[i].c, hosts[i].n = newNetwork(b)
	}
	for i := range many {
		sb := start(b, hosts[1].c, hosts[1].n, i+1, ports) // from port 7000 on
		defer end(b, sb)
	}
	var lives [2]lives
	b.ResetTimer()
	for i := range b.N {
		for with, h := range hosts {
			lives[with].one(b, h.c, h.n, 10+i%1000)
		}
	}
	lives[1].report(b, lives[0])
}

// BenchmarkBesidePortsIPTables is the same with iptables, whose programs read all rules for
// each change, whoever has made them: so first beside none, then beside one container with
// 3000 ports.
func BenchmarkBesidePortsIPTables(b *testing.B) {
	const ports, most = 3000, 20
	for backend, needs := range map[string]nstest.Feature{"iptables-nft": nstest.IPTablesNFT, "iptables-legacy": nstest.IPTablesLegacy} {
		b.Run(strings.TrimPrefix(backend, "iptables-"), func(b *testing.B) {
			nstest.Require(b, nstest.Root, nstest.Bridge, nstest.Veth, needs)
			c, n := newNetwork(b, config.OptionDriverConfig("bridge", map[string]any{
				netlabel.GenericData: map[string]any{"FirewallBackend": backend},
			}))
			var lives [2]lives
			b.ResetTimer()
			for with := range lives {
				if with == 1 {
					sb := start(b, c, n, 1, ports)
					defer end(b, sb)
				}
				for i := range min(b.N, most) {
					lives[with].one(b, c, n, 10+i)
				}
			}
			lives[1].report(b, lives[0])
		})
	}
}

// lives are how long it took to start and to end containers.
type lives struct{ up, down []time.Duration }

// one starts and ends a container with one published port.
func (l *lives) one(b *testing.B, c libnetwork.NetworkController, n libnetwork.Network, num int) {
	b.Helper()
	var sb libnetwork.Sandbox
	l.up = append(l.up, clock(func() { sb = start(b, c, n, num, 1) }))
	l.down = append(l.down, clock(func() { end(b, sb) }))
}

// report tells of lives beside many ports, and of how they are to those beside none.
func (l *lives) report(b *testing.B, empty lives) {
	b.Helper()
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ms(median(empty.up)), "up-ms")
	b.ReportMetric(ms(median(empty.down)), "down-ms")
	b.ReportMetric(float64(median(l.up))/float64(median(empty.up)), "up/empty")
	b.ReportMetric(float64(median(l.down))/float64(median(empty.down)), "down/empty")
}

func end(b *testing.B, sb libnetwork.Sandbox) {
	b.Helper()
	if err := sb.Delete(); err != nil {
		b.Error(err)
	}
}

// BenchmarkContainerCPU is the processor time of one container's whole life.
func BenchmarkContainerCPU(b *testing.B) {
	nstest.Require(b, nstest.Root, nstest.Bridge, nstest.Veth, nstest.NFTables)
	c, n := newNetwork(b)
	before := cpu()
	for i := 0; b.Loop(); i++ {
		if err := start(b, c, n, i%1000, 0).Delete(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(ms(cpu()-before)/float64(b.N), "cpu-ms/container")
}

// BenchmarkNetworkCreate makes 500 networks, each beside those that exist already,
// whatever the number of rounds: the first hundred beside the last.
func BenchmarkNetworkCreate(b *testing.B) {
	nstest.Require(b, nstest.Root, nstest.Bridge, nstest.NFTables)
	c, _ := newNetwork(b)
	const networks, group = 500, 100
	nets := make([]libnetwork.Network, networks)
	var created, deleted []time.Duration
	for i := range nets {
		pool := fmt.Sprintf("10.%d.%d.0/24", i/256, i%256)
		created = append(created, clock(func() {
			var err error
			nets[i], err = c.NewNetwork("bridge", fmt.Sprintf("bench%d", i), libnetwork.NetworkOptionIpam("", "",
				[]*libnetwork.IpamConf{{PreferredPool: pool}}, nil, nil))
			if err != nil {
				b.Fatal(err)
			}
		}))
	}
	b.StopTimer()
	for _, n := range nets {
		deleted = append(deleted, clock(func() {
			if err := n.Delete(); err != nil {
				b.Error(err)
			}
		}))
	}
	few, many := median(created[:group]), median(created[networks-group:])
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ms(few), "create-ms")
	b.ReportMetric(ms(many), "create500-ms")
	b.ReportMetric(float64(many)/float64(few), "create500/create")
	b.ReportMetric(ms(median(deleted)), "delete-ms")
}

// start gives a container its network.
func start(b *testing.B, c libnetwork.NetworkController, n libnetwork.Network, i, ports int) libnetwork.Sandbox {
	b.Helper()
	var opts []libnetwork.SandboxOption
	if ports > 0 {
		opts = append(opts, libnetwork.OptionPortMapping(bindings(i, ports)))
	}
	ep, err := n.CreateEndpoint(fmt.Sprintf("ep%d", i))
	if err != nil {
		b.Fatal(err)
	}
	sb, err := c.NewSandbox(fmt.Sprintf("container%d", i), opts...)
	if err != nil {
		b.Fatal(err)
	}
	if err := ep.Join(sb); err != nil {
		b.Fatal(err)
	}
	return sb
}

func bindings(i, ports int) []types.PortBinding {
	const base = 2000
	out := make([]types.PortBinding, ports)
	for p := range out {
		out[p] = types.PortBinding{Proto: types.TCP, Port: uint16(80 + p), HostPort: uint16(base + i*ports + p)}
	}
	return out
}

func newNetwork(b *testing.B, opts ...config.Option) (libnetwork.NetworkController, libnetwork.Network) {
	b.Helper()
	c, err := libnetwork.New(append(opts, config.OptionDataDir(b.TempDir()))...)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Stop)
	n, err := c.NewNetwork("bridge", "bench", libnetwork.NetworkOptionIpam("", "",
		[]*libnetwork.IpamConf{{PreferredPool: "172.30.0.0/16"}}, nil, nil))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := n.Delete(); err != nil {
			b.Error(err)
		}
	})
	return c, n
}

// floor is the kernel alone.
type floor struct {
	dir    string
	host   *netns.Namespace
	rt     *rtnl.Socket
	spaces []*netns.Namespace
}

const floorGroup = 4711

func newFloor(b *testing.B) *floor {
	b.Helper()
	f := &floor{dir: filepath.Join(b.TempDir(), "ns")}
	if err := netns.EnsureDir(nil, f.dir); err != nil {
		b.Fatal(err)
	}
	var err error
	if f.host, err = netns.Host(nil); err != nil {
		b.Fatal(err)
	}
	if f.rt, err = f.host.Rtnl(); err != nil {
		b.Fatal(err)
	}
	err = f.rt.CreateBridge(context.Background(), model.Bridge{
		Name: "floor0", Group: floorGroup, Addrs: []netip.Prefix{netip.MustParsePrefix("172.31.0.1/16")},
	})
	if err != nil {
		b.Fatal(err)
	}
	return f
}

func (f *floor) up(b *testing.B, i int) {
	b.Helper()
	ctx := context.Background()
	ns, err := netns.Create(ctx, nil, filepath.Join(f.dir, fmt.Sprint(i)))
	if err != nil {
		b.Fatal(err)
	}
	f.spaces = append(f.spaces, ns)
	inside, err := ns.Rtnl()
	if err != nil {
		b.Fatal(err)
	}
	addr := netip.AddrFrom4([4]byte{172, 31, byte(1 + i/250), byte(1 + i%250)})
	err = f.rt.CreateVeth(ctx, inside, ns.FD(), model.Veth{
		Host: fmt.Sprintf("floor%d", i+1), Name: "eth0", Bridge: "floor0", Group: floorGroup,
		Addrs: []netip.Prefix{netip.PrefixFrom(addr, 16)},
	})
	if err != nil {
		b.Fatal(err)
	}
	err = inside.ReplaceDefaultRoute(ctx, model.DefaultRoute{Via: netip.MustParseAddr("172.31.0.1"), Dev: "eth0"})
	if err != nil {
		b.Fatal(err)
	}
}

func (f *floor) down(b *testing.B) {
	b.Helper()
	for _, ns := range f.spaces {
		if err := ns.Close(); err != nil {
			b.Error(err)
		}
		if err := netns.Remove(nil, ns.Path()); err != nil {
			b.Error(err)
		}
	}
	if err := f.rt.DeleteGroup(context.Background(), floorGroup); err != nil {
		b.Error(err)
	}
	if err := f.host.Close(); err != nil {
		b.Error(err)
	}
	if err := netns.RemoveDir(nil, f.dir); err != nil {
		b.Error(err)
	}
}

// each runs f for 0 to n-1, so many at a time, and returns the time and the
// processor time that it took.
func each(parallel, n int, f func(i int)) (wall, processor time.Duration) {
	work := make(chan int)
	before := cpu()
	begin := time.Now()
	var wg sync.WaitGroup
	for range parallel {
		wg.Go(func() {
			for i := range work {
				f(i)
			}
		})
	}
	for i := range n {
		work <- i
	}
	close(work)
	wg.Wait()
	return time.Since(begin), cpu() - before
}

func clock(f func()) time.Duration {
	begin := time.Now()
	f()
	return time.Since(begin)
}

func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2]
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// cpu is the processor time that the process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func heap() uint64 {
	runtime.GC()
	runtime.GC() // what pools hold survives one
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
