package crash

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"github.com/vishvananda/netlink"

	"github.com/libnetwork/libnetwork/internal/drivers/bridge"
	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/internal/ipt"
	"github.com/libnetwork/libnetwork/internal/kernel"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/internal/nft"
)

// answerTime is how long a packet may take; nothing takes longer but by an error.
const answerTime = 5 * time.Second

// verify compares records, kernel and files.
func (w *world) verify(t *testing.T) {
	t.Helper()
	var rules nft.Change
	var wantHost, wantSpaces, wantFiles []string
	drv := bridge.Driver{Group: kernel.Group(dataDir)}
	for _, n := range w.e.Networks() {
		for _, o := range drv.Network(n.Record()) {
			switch o := o.(type) {
			case model.Bridge:
				wantHost = append(wantHost, "link "+o.Name+" bridge up")
				for _, a := range o.Addrs {
					wantHost = append(wantHost, fmt.Sprintf("address %s on %s", a, o.Name))
				}
			case model.FirewallNetwork:
				rules.Networks = append(rules.Networks, o)
			}
		}
	}
	for _, s := range w.e.Sandboxes() {
		for _, o := range s.View().Objects() {
			switch o := o.(type) {
			case model.Veth:
				wantHost = append(wantHost, "link "+o.Host+" veth up in "+o.Bridge)
			case model.Port:
				rules.Ports = append(rules.Ports, o)
			case model.Tracked:
				rules.Tracked = append(rules.Tracked, o)
			case model.KeptPort:
				rules.Kept = append(rules.Kept, o)
			case model.Namespace:
				wantSpaces = append(wantSpaces, o.Path)
			case model.SandboxFiles:
				wantFiles = append(wantFiles, filepath.Join(dataDir, "network", "files", o.Sandbox))
			}
		}
		w.verifySandbox(t, s)
	}
	slices.Sort(wantHost)
	eventually(t, "links and addresses of the host", func() string { return cmp.Diff(wantHost, hostLinks(t)) })

	same := func(what string, want []string, pattern string) {
		t.Helper()
		got, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	same("namespaces", wantSpaces, filepath.Join(runDir, "netns", "*"))
	same("directories of sandboxes", wantFiles, filepath.Join(dataDir, "network", "files", "*"))
	for _, path := range wantSpaces {
		if !netns.IsNamespace(path) {
			t.Errorf("%s is not a namespace", path)
		}
	}
	if !slices.ContainsFunc(rules.Networks, func(n model.FirewallNetwork) bool { return n.V6 != nil }) {
		rules.Kept = nil // they are rules of IPv6
	}
	verifyRules(t, rules)
}

func hostLinks(t *testing.T) []string {
	t.Helper()
	var got []string
	links, err := whole(netlink.LinkList)
	if err != nil {
		t.Fatal(err)
	}
	names := map[int]string{}
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	for _, l := range links {
		a := l.Attrs()
		if a.Name == "lo" {
			continue
		}
		line := "link " + a.Name + " " + l.Type()
		if a.Flags&net.FlagUp != 0 {
			line += " up"
		}
		if a.MasterIndex != 0 {
			line += " in " + names[a.MasterIndex]
		}
		if a.Group != kernel.Group(dataDir) {
			line += fmt.Sprintf(" group %d", a.Group)
		}
		got = append(got, line)
		addrs, err := whole(func() ([]netlink.Addr, error) { return netlink.AddrList(l, netlink.FAMILY_ALL) })
		if err != nil {
			t.Fatal(err)
		}
		for _, addr := range addrs {
			if !addr.IP.IsLinkLocalUnicast() {
				got = append(got, fmt.Sprintf("address %s on %s", addr.IPNet, a.Name))
			}
		}
	}
	slices.Sort(got)
	return got
}

// verifyRules compares the firewall's tables with those that are wanted.
func verifyRules(t *testing.T, want nft.Change) {
	t.Helper()
	ctx := context.Background()
	any := len(want.Networks) > 0
	guard := nft.Guard{V4: any, V6: slices.ContainsFunc(want.Networks, func(n model.FirewallNetwork) bool { return n.V6 != nil })}
	table := kernel.Table(dataDir)
	if iptables() {
		fw, err := ipt.Open(ctx, ipt.Config{Name: table, Variant: ipt.Legacy})
		if err != nil {
			t.Fatal(err)
		}
		defer fw.Close()
		if found, err := fw.Reconcile(ctx, want, guard); found != model.FoundRight || err != nil {
			t.Errorf("the firewall is not as wanted: found %v, %v", found, err)
		}
		want, guard = nft.Change{}, nft.Guard{}
	}
	fw, err := nft.Open(ctx, nft.Config{Table: table})
	if err != nil {
		t.Fatal(err)
	}
	defer fw.Close()
	// It learns the rules' texts here. Tables that differ have an owner who refuses
	// the change, or are changed, which is as wrong.
	if found, err := fw.Reconcile(ctx, want, guard); found != model.FoundRight || err != nil {
		t.Errorf("the firewall is not as wanted: found %v, %v", found, err)
	}
	got, err := fw.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	text, err := nft.Render(table, want, guard)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sortedLines(text), sortedLines(got)); diff != "" {
		t.Errorf("firewall (-want +got):\n%s", diff)
	}
}

// sortedLines leaves out what says how, not what.
func sortedLines(text string) []string {
	lines := slices.Collect(strings.Lines(text))
	slices.Sort(lines)
	return lines
}

// verifySandbox compares a sandbox's namespace and files with its record.
func (w *world) verifySandbox(t *testing.T, s *engine.Sandbox) {
	t.Helper()
	rec := s.Record()
	var inside, entries []string
	server, wired := false, false
	for _, o := range s.View().Objects() {
		switch o := o.(type) {
		case model.Namespace:
			wired = true
		case model.Veth:
			inside = append(inside, "link "+o.Name+" up "+o.MAC)
			for _, a := range o.Addrs {
				inside = append(inside, fmt.Sprintf("address %s on %s", a, o.Name))
			}
		case model.DefaultRoute:
			inside = append(inside, fmt.Sprintf("default via %s dev %s", o.Via, o.Dev))
		case model.Redirect:
			inside = append(inside, redirectLine())
		case model.HostsEntry:
			for _, a := range o.Addrs {
				entries = append(entries, a.String()+"\t"+o.Hostname+"\n")
			}
		case model.ResolverConf:
			server = o.Server
		}
	}
	if wired {
		slices.Sort(inside)
		// A link that has left goes a moment later, with others.
		eventually(t, "inside of container "+rec.ContainerID, func() (diff string) {
			within(t, rec.Key, func() error {
				diff = cmp.Diff(inside, insideLines(t))
				return nil
			})
			return diff
		})
	}
	hosts, err := os.ReadFile(rec.Files.Hosts)
	if err != nil {
		t.Errorf("hosts file of container %s: %v", rec.ContainerID, err)
	}
	var own []string
	for line := range strings.Lines(string(hosts)) {
		if strings.HasSuffix(line, "\t"+rec.Files.Hostname+"\n") {
			own = append(own, line)
		}
	}
	slices.Sort(own)
	slices.Sort(entries)
	if diff := cmp.Diff(entries, own); diff != "" {
		t.Errorf("own lines in the hosts file of container %s (-want +got):\n%s", rec.ContainerID, diff)
	}
	for _, x := range rec.Files.Extra {
		if !strings.Contains(string(hosts), x.Addr+"\t"+x.Name+"\n") {
			t.Errorf("hosts file of container %s lacks %s:\n%s", rec.ContainerID, x.Name, hosts)
		}
	}
	conf, err := os.ReadFile(rec.Files.ResolvConf)
	if err != nil {
		t.Errorf("resolv.conf of container %s: %v", rec.ContainerID, err)
	}
	// After the last leave the file stays as it is.
	if server && !strings.Contains(string(conf), "nameserver 127.0.0.11\n") {
		t.Errorf("resolv.conf of container %s does not name the server:\n%s", rec.ContainerID, conf)
	}
	if wired {
		w.verifyTraffic(t, s)
	}
}

// iptables says whether the firewall is kept with iptables.
func iptables() bool { return os.Getenv(backendEnv) == string(kernel.IPTablesLegacy) }

// redirectLine is what shows the DNS redirect in a sandbox.
func redirectLine() string {
	if iptables() {
		return "redirect by chain LIBNETWORK-DNS"
	}
	return "redirect by table libnetwork_dns"
}

func insideLines(t *testing.T) []string {
	t.Helper()
	var got []string
	if iptables() {
		out, err := exec.CommandContext(t.Context(), "iptables-legacy-save").Output()
		if err != nil {
			t.Error(err)
		}
		if strings.Contains(string(out), " -j LIBNETWORK-DNS\n") {
			got = append(got, redirectLine())
		}
	}
	links, err := whole(netlink.LinkList)
	if err != nil {
		t.Error(err)
	}
	for _, l := range links {
		a := l.Attrs()
		if a.Name == "lo" {
			if a.Flags&net.FlagUp == 0 {
				got = append(got, "lo is down")
			}
			continue
		}
		line := "link " + a.Name
		if a.Flags&net.FlagUp != 0 {
			line += " up"
		}
		got = append(got, line+" "+a.HardwareAddr.String())
		addrs, err := whole(func() ([]netlink.Addr, error) { return netlink.AddrList(l, netlink.FAMILY_ALL) })
		if err != nil {
			t.Error(err)
		}
		for _, addr := range addrs {
			if !addr.IP.IsLinkLocalUnicast() {
				got = append(got, fmt.Sprintf("address %s on %s", addr.IPNet, a.Name))
			}
		}
		for _, fam := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
			routes, err := whole(func() ([]netlink.Route, error) { return netlink.RouteList(l, fam) })
			if err != nil {
				t.Error(err)
			}
			for _, r := range routes {
				if r.Dst == nil || r.Dst.IP.IsUnspecified() {
					got = append(got, fmt.Sprintf("default via %s dev %s", r.Gw, a.Name))
				}
			}
		}
	}
	for _, line := range ruleLines(t, "") {
		if name, ok := strings.CutPrefix(line, ": table 2 "); ok {
			got = append(got, "redirect by table "+name)
		}
	}
	slices.Sort(got)
	return got
}

// verifyTraffic connects to a server in the sandbox from the host, by its
// addresses and by its ports, and asks its DNS server.
func (w *world) verifyTraffic(t *testing.T, s *engine.Sandbox) {
	t.Helper()
	rec := s.Record()
	ns, err := netns.Open(nil, rec.Key)
	if err != nil {
		t.Errorf("container %s: %v", rec.ContainerID, err)
		return
	}
	defer ns.Close()
	l, err := ns.ListenTCP(netip.MustParseAddrPort("0.0.0.0:8080"))
	if err != nil {
		t.Errorf("container %s: %v", rec.ContainerID, err)
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, rec.ContainerID)
			_ = c.Close()
		}
	}()
	defer func() { _ = l.Close(); <-done }()
	for _, a := range s.View().Attached {
		if v4 := a.Endpoint.V4; v4.IsValid() {
			reach(t, rec.ContainerID, netip.AddrPortFrom(v4.Addr(), 8080))
		}
		if rec.Resolver != 0 {
			resolve(t, ns, a.Endpoint.Name, a.Endpoint.V4.Addr())
		}
	}
	for p := range rec.Published.All() {
		if p.Proto == tcp && p.Port == 8080 && p.Host.Is4() {
			reach(t, rec.ContainerID, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), p.First))
		}
		if err := listen(p); err == nil {
			t.Errorf("container %s: port %s is not held", rec.ContainerID, p.Key())
		}
	}
}

// listen takes a port of the host for a moment.
func listen(p model.Port) error {
	addr := netip.AddrPortFrom(p.Host, p.First)
	if p.Proto == udp {
		c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
		if err != nil {
			return err
		}
		return c.Close()
	}
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(addr))
	if err != nil {
		return err
	}
	return l.Close()
}

func reach(t *testing.T, container string, to netip.AddrPort) {
	t.Helper()
	c, err := net.DialTimeout("tcp", to.String(), answerTime)
	if err != nil {
		t.Errorf("container %s is not reached: %v", container, err)
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(answerTime))
	b, err := io.ReadAll(c)
	if err != nil || string(b) != container {
		t.Errorf("container %s at %s answers %q, %v", container, to, b, err)
	}
}

// resolve asks the sandbox's DNS server, from inside, by the address that is in
// its resolv.conf.
func resolve(t *testing.T, ns *netns.Namespace, name string, want netip.Addr) {
	t.Helper()
	got, err := query(ns, name)
	if err != nil || got != want {
		t.Errorf("%s in %s is %s, %v, want %s", name, ns.Path(), got, err, want)
	}
}

func query(ns *netns.Namespace, name string) (netip.Addr, error) {
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()
	c, err := ns.Dial(ctx, "udp", "127.0.0.11:53")
	if err != nil {
		return netip.Addr{}, err
	}
	defer c.Close()
	q := new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeA)
	conn := &dns.Conn{Conn: c}
	_ = conn.SetDeadline(time.Now().Add(answerTime))
	if err := conn.WriteMsg(q); err != nil {
		return netip.Addr{}, err
	}
	r, err := conn.ReadMsg()
	if err != nil {
		return netip.Addr{}, err
	}
	for _, rr := range r.Answer {
		if a, ok := rr.(*dns.A); ok {
			addr, _ := netip.AddrFromSlice(a.A.To4())
			return addr, nil
		}
	}
	return netip.Addr{}, nil
}
