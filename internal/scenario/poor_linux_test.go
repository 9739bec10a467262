package scenario_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/engine"
	assemble "github.com/libnetwork/libnetwork/internal/host"
	"github.com/libnetwork/libnetwork/internal/kernel"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/types"
)

// hide mounts something over a directory for the time of the test, or until what is
// returned is called.
func hide(t *testing.T, fstype, source, dir string, flags uintptr) (show func()) {
	t.Helper()
	if err := unix.Mount(source, dir, fstype, flags&unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	shown := false
	show = func() {
		if !shown {
			shown = true
			if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(show)
	if flags&unix.MS_RDONLY != 0 {
		if err := unix.Mount("", dir, "", flags|unix.MS_REMOUNT, ""); err != nil {
			t.Fatal(err)
		}
	}
	return show
}

// readOnlySettings makes /proc/sys read-only, as in many containers.
func readOnlySettings(t *testing.T) (end func()) {
	t.Helper()
	return hide(t, "", "/proc/sys", "/proc/sys", unix.MS_BIND|unix.MS_RDONLY)
}

func TestReadOnlySettings(t *testing.T) {
	onEachBesideDocker(t, "a read-only /proc/sys is in the way only where a setting has to change", testReadOnlySettings)
}

func testReadOnlySettings(t *testing.T, on backend) {
	h := newHost(t, on.option())
	refused := func(what string, opt netOption, names ...string) {
		t.Helper()
		before, store := machine(t), h.store()
		end := readOnlySettings(t)
		n, err := h.tryNetwork(1, opt)
		end()
		failed(t, err, "Forbidden", append(names, "net1", "read-only")...)
		if err == nil {
			h.drop(n)
		}
		same(t, "the machine after "+what, before, func() string { return machine(t) })
		same(t, "the store after "+what, store, h.store)
	}
	both := func(*netConfig) {}
	refused("a network of both families", both, "accept_ra")
	refused("a network of IPv4", only4, "accept_ra")
	h.sysctl("ipv6/conf/default/accept_ra", "0")
	refused("a network of IPv4, whose bridge would have IPv6", only4, "disable_ipv6")
	h.sysctl("ipv6/conf/default/disable_ipv6", "1")
	refused("a network of IPv6 on a host that has it off", both, "disable_ipv6")
	// Nothing has to change: the network is made. Its container's settings have to.
	before := machine(t)
	end := readOnlySettings(t)
	n := h.network(1, only4)
	_, err := h.tryContainer("c1", nil, n)
	end()
	failed(t, err, "Forbidden", "c1", "read-only")
	c := h.container("c1", nil, n)
	h.visit(to("host", h.own, c, "c1")...)
	h.remove(c)
	h.drop(n)
	same(t, "the machine", before, func() string { return machine(t) })
}

// TestWithoutSCTP publishes ports of SCTP where the kernel does not track it.
func TestWithoutSCTP(t *testing.T) {
	onEach(t, "a kernel without SCTP is named when a port of it is published, and nothing remains", testWithoutSCTP)
}

func testWithoutSCTP(t *testing.T, on backend) {
	h := newHost(t, on.option())
	n := h.network(1)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "nf_conntrack_max"), []byte("1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	before, store := machine(t), h.store()
	for _, host := range []net.IP{nil, net.ParseIP(hostV6)} {
		show := hide(t, "", dir, "/proc/sys/net/netfilter", unix.MS_BIND)
		_, err := h.tryContainer("c1", publish(types.PortBinding{Proto: types.SCTP, HostIP: host, HostPort: 7001, Port: 80}), n)
		show()
		failed(t, err, "NotImplemented", "sctp port ", ":7001: the kernel does not track SCTP", "CONFIG_NF_CT_PROTO_SCTP")
		same(t, "the machine", before, func() string { return machine(t) })
		same(t, "the store", store, h.store)
	}
}

func TestReadOnlyForwarding(t *testing.T) {
	onEach(t, "forwarding that cannot be turned on is said", testReadOnlyForwarding)
}

func testReadOnlyForwarding(t *testing.T, on backend) {
	for _, family := range []struct{ name, setting string }{{"IPv4", "ipv4/ip_forward"}, {"IPv6", "ipv6/conf/all/forwarding"}} {
		t.Run(family.name, func(t *testing.T) {
			h := bareHost(t, on.option("EnableIPForwarding"))
			for _, s := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
				h.sysctl(s, map[bool]string{true: "0", false: "1"}[s == family.setting])
			}
			for _, name := range []string{"all", "default", "eth0", "lo"} {
				h.sysctl("ipv6/conf/"+name+"/accept_ra", "0")
			}
			h.start()
			before, store := machine(t), h.store()
			end := readOnlySettings(t)
			_, err := h.tryNetwork(1)
			end()
			failed(t, err, "Forbidden", "net1", family.setting, "read-only")
			same(t, "the machine", before, func() string { return machine(t) })
			same(t, "the store", store, h.store)
		})
	}
}

// poorEnv holds the data and run directories, the backend, and what the kernel of a
// process lacks.
const poorEnv = "LIBNETWORK_SCENARIO_POOR"

// poor makes networks and a container on a kernel that lacks something, says what
// comes of it, and removes all when its standard input ends.
func poor() {
	args := strings.Split(os.Getenv(poorEnv), ":")
	if err := lack(args[3]); err != nil {
		println(err.Error())
		os.Exit(1)
	}
	if err := runPoor(args); err != nil {
		fmt.Printf("error %T %v\n", err, err)
		for name, is := range classes {
			if direct, _ := is(err); direct {
				fmt.Println("class", name)
			}
		}
		os.Exit(0)
	}
}

func runPoor(args []string) error {
	ctx := context.Background()
	e, release, err := assemble.Open(ctx, assemble.Options{
		DataDir: args[0], RunDir: args[1], Firewall: kernel.Backend(args[2]), SmallPools: true, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	defer func() { _ = release() }()
	six, err := e.CreateNetwork(ctx, engine.NetworkRequest{
		Driver: "bridge", Name: "six", IPv6: true, Options: map[string]string{"com.docker.network.bridge.name": "br6"},
		IPAM: model.IPAM{Conf4: []model.IPAMConf{{Pool: "10.99.2.0/24"}}, Conf6: []model.IPAMConf{{Pool: "fd99:0:0:2::/64"}}},
	})
	fmt.Printf("six %T %v\n", err, err)
	n, err := e.CreateNetwork(ctx, engine.NetworkRequest{
		Driver: "bridge", Name: "four", IPAM: model.IPAM{Conf4: []model.IPAMConf{{Pool: "10.99.1.0/24"}}},
	})
	if err != nil {
		return err
	}
	s, err := e.CreateContainer(ctx, engine.SandboxRequest{ContainerID: "c1", Publish: []model.Publish{
		{Proto: unix.IPPROTO_TCP, First: 7001, Last: 7001, Port: port, PortLast: port},
	}}, []engine.AttachRequest{{Network: n, Endpoint: engine.EndpointRequest{Name: "c1"}}})
	if err != nil {
		return errors.Join(err, n.Delete(ctx))
	}
	fmt.Println("ready", s.Record().Key)
	_, err = io.Copy(io.Discard, os.Stdin)
	err = errors.Join(err, s.Delete(ctx), n.Delete(ctx))
	if six != nil {
		err = errors.Join(err, six.Delete(ctx))
	}
	return err
}

// lack has the kernel refuse sockets to this process and what it starts, as one does
// that was built without: of "ipv6", or of "netfilter" netlink.
func lack(what string) error {
	const (
		load, equal, ret    = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_RET | unix.BPF_K
		number, first, last = 0, 16, 32 // of struct seccomp_data
		allow, refuse       = 0x7fff0000, 0x00050000
	)
	rules := []unix.SockFilter{
		{Code: load, K: number},
		{Code: equal, Jf: 5, K: unix.SYS_SOCKET},
		{Code: load, K: first},
		{Code: equal, Jf: 3, K: unix.AF_NETLINK},
		{Code: load, K: last},
		{Code: equal, Jf: 1, K: unix.NETLINK_NETFILTER},
		{Code: ret, K: refuse | uint32(unix.EPROTONOSUPPORT)},
		{Code: ret, K: allow},
	}
	if what == "ipv6" {
		rules = []unix.SockFilter{
			{Code: load, K: number},
			{Code: equal, Jf: 3, K: unix.SYS_SOCKET},
			{Code: load, K: first},
			{Code: equal, Jf: 1, K: unix.AF_INET6},
			{Code: ret, K: refuse | uint32(unix.EAFNOSUPPORT)},
			{Code: ret, K: allow},
		}
	}
	program := unix.SockFprog{Len: uint16(len(rules)), Filter: &rules[0]}
	const setFilter, allThreads = 1, 1
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, setFilter, allThreads, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return os.NewSyscallError("seccomp", errno)
	}
	return nil
}

// poor runs a process without something of the kernel, and returns what it has said
// until it is ready or at its end.
func (h *host) poor(t *testing.T, on backend, lacks string) (said string, stop func()) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^$")
	cmd.Env = append(os.Environ(), strings.Join([]string{poorEnv + "=" + h.data, h.run, string(on), lacks}, ":"))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	for !strings.Contains(said, "\nready ") {
		n, err := out.Read(buf)
		said += string(buf[:n])
		if err != nil {
			break
		}
	}
	return said, func() {
		t.Helper()
		_ = in.Close()
		rest, _ := io.ReadAll(out)
		if err := cmd.Wait(); err != nil || len(rest) > 0 {
			t.Errorf("the process has ended with %v: %s", err, rest)
		}
	}
}

// withoutIPv6 hides the settings of IPv6, which a kernel without it does not have.
func withoutIPv6(t *testing.T) {
	t.Helper()
	const dir = "/proc/sys/net"
	all := t.TempDir()
	hide(t, "", dir, all, unix.MS_BIND)
	hide(t, "tmpfs", "tmpfs", dir, 0)
	list, err := os.ReadDir(all)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range list {
		if d.Name() == "ipv6" {
			continue
		}
		if err := os.Mkdir(filepath.Join(dir, d.Name()), 0o755); err != nil {
			t.Fatal(err)
		}
		hide(t, "", filepath.Join(all, d.Name()), filepath.Join(dir, d.Name()), unix.MS_BIND)
	}
}

// TestPoorKernel has the controller run where the kernel refuses sockets as one does
// that was built without something.
func TestPoorKernel(t *testing.T) {
	nstest.Require(t, nstest.NFTables, nstest.IPTablesNFT, nstest.IPTablesLegacy)
	const noIPv6, noNFTables = "ipv6", "netfilter"
	for _, tt := range []struct {
		name  string
		on    backend
		lacks string
		// six is what becomes of a network with IPv6, end of the start, if it fails.
		six, end string
	}{
		{"without IPv6 the other family works, and IPv6 is refused", nftables, noIPv6, "notImplemented", ""},
		{"without IPv6 the other family works, and IPv6 is refused", iptablesNFT, noIPv6, "notImplemented", ""},
		{"without IPv6 the other family works, and IPv6 is refused", iptablesLegacy, noIPv6, "notImplemented", ""},
		{"without IPv6 the other family works, and IPv6 is refused", nftables + "+docker", noIPv6, "notImplemented", ""},
		{"without IPv6 the other family works, and IPv6 is refused", iptablesNFT + "+docker", noIPv6, "notImplemented", ""},
		{"without IPv6 the other family works, and IPv6 is refused", iptablesLegacy + "+docker", noIPv6, "notImplemented", ""},
		{"without nftables legacy iptables is found", "auto", noNFTables, "<nil>", ""},
		{"without nftables legacy iptables works", iptablesLegacy, noNFTables, "<nil>", ""},
		{"without nftables legacy iptables works", iptablesLegacy + "+docker", noNFTables, "<nil>", ""},
		{"without nftables it cannot be asked for", nftables, noNFTables, "", "NotImplemented"},
		{"without nftables it cannot be asked for", iptablesNFT, noNFTables, "", "NotImplemented"},
	} {
		t.Run(tt.name+" ("+string(tt.on)+")", func(t *testing.T) {
			h := bareHost(t, tt.on.option())
			h.sysctl("ipv4/ip_forward", "1")
			h.sysctl("ipv6/conf/all/forwarding", "1")
			if tt.lacks == noIPv6 {
				withoutIPv6(t)
			}
			said, stop := h.poor(t, tt.on.alone(), tt.lacks)
			defer func() {
				stop()
				if err := errors.Join(netns.RemoveDir(nil, h.run+"/netns"), os.RemoveAll(h.run)); err != nil {
					t.Error(err)
				}
			}()
			if tt.end != "" {
				if !strings.Contains(said, "\nclass "+tt.end+"\n") || !strings.Contains(said, "no nftables") || !strings.Contains(said, string(iptablesLegacy)) {
					t.Errorf("the start ends with %q", said)
				}
				return
			}
			if !strings.HasPrefix(said, "six ") || !strings.Contains(said, tt.six) || tt.lacks == noIPv6 && !strings.Contains(said, "this kernel has no IPv6") {
				t.Errorf("of a network with IPv6 comes %q, want %s", said, tt.six)
			}
			_, key, ready := strings.Cut(said, "\nready ")
			if !ready {
				t.Fatalf("the process says %q", said)
			}
			ns, err := netns.Open(nil, strings.TrimSpace(key))
			if err != nil {
				t.Fatal(err)
			}
			defer ns.Close()
			srv, err := serve(ns, "c1", port)
			if err != nil {
				t.Fatal(err)
			}
			defer srv.close()
			h.visitBy([]string{"tcp"}, visit{"lan", h.lan, at(hostV4, 7001), "c1", lanV4}, visit{who: "lan", from: h.lan, to: at("10.99.1.2", port)})
		})
	}
}
