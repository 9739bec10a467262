package scenario_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork"
	"github.com/libnetwork/libnetwork/config"
	"github.com/libnetwork/libnetwork/netlabel"
	"github.com/libnetwork/libnetwork/types"
)

func TestBadNetworks(t *testing.T) {
	h := newHost(t)
	h.network(1)
	conf := func(v4, v6 *libnetwork.IpamConf) netOption {
		return func(c *netConfig) {
			if v4 != nil {
				c.v4 = v4
			}
			if v6 != nil {
				c.v6 = v6
			}
		}
	}
	four := func(pool, gateway string) netOption {
		return conf(&libnetwork.IpamConf{PreferredPool: pool, Gateway: gateway}, nil)
	}
	six := func(pool, gateway string) netOption {
		return conf(nil, &libnetwork.IpamConf{PreferredPool: pool, Gateway: gateway})
	}
	generic := func(key string, value any) netOption {
		return func(c *netConfig) {
			c.more = append(c.more, libnetwork.NetworkOptionGeneric(map[string]any{key: value}))
		}
	}
	before, store := machine(t), h.store()
	for _, tt := range []struct {
		name, class string
		opt         netOption
		text        []string
	}{
		{"malformed subnet", "BadRequest", four("10.98.0.0", ""), []string{"10.98.0.0"}},
		{"malformed length", "BadRequest", four("10.98.0.0/33", ""), []string{"10.98.0.0/33"}},
		{"malformed IPv6 subnet", "BadRequest", six("fd98::/129", ""), []string{"fd98::/129"}},
		{"IPv6 in the IPv4 list", "BadRequest", four("fd98::/64", ""), []string{"fd98::/64"}},
		{"IPv4 in the IPv6 list", "BadRequest", six("10.98.0.0/24", ""), []string{"10.98.0.0/24"}},
		{"no room", "BadRequest", four("10.98.0.1/32", ""), []string{"10.98.0.1/32"}},
		{"no room, IPv6", "BadRequest", six("fd98::1/128", ""), []string{"fd98::1/128"}},
		{"overlap", "Forbidden", four("10.99.1.128/25", ""), []string{"10.99.1.128/25", "10.99.1.0/24 of network net1"}},
		{"gateway outside", "BadRequest", four("10.98.0.0/24", "10.97.0.1"), []string{"10.97.0.1"}},
		{"gateway outside, IPv6", "BadRequest", six("fd98::/64", "fd97::1"), []string{"fd97::1"}},
		{"gateway is the network", "BadRequest", four("10.98.0.0/24", "10.98.0.0"), []string{"10.98.0.0"}},
		{"gateway is the network, IPv6", "BadRequest", six("fd98::/64", "fd98::"), []string{"fd98::"}},
		{"gateway is the broadcast", "BadRequest", four("10.98.0.0/24", "10.98.0.255"), []string{"10.98.0.255"}},
		{"malformed gateway", "BadRequest", four("10.98.0.0/24", "10.98"), []string{"10.98"}},
		{"gateway of the other family", "BadRequest", four("10.98.0.0/24", "fd98::1"), []string{"fd98::1"}},
		{"range of the gateway alone", "BadRequest", conf(&libnetwork.IpamConf{PreferredPool: "10.98.0.0/24", SubPool: "10.98.0.1/32"}, nil), []string{"10.98.0.1/32"}},
		{"range of the gateway and an auxiliary address", "BadRequest", conf(&libnetwork.IpamConf{
			PreferredPool: "10.98.0.0/24", SubPool: "10.98.0.6/31", Gateway: "10.98.0.7", AuxAddresses: map[string]string{"a": "10.98.0.6"},
		}, nil), []string{"10.98.0.6/31", "10.98.0.7"}},
		{"range of the subnet's own address", "BadRequest", conf(&libnetwork.IpamConf{PreferredPool: "10.98.0.0/24", SubPool: "10.98.0.0/31"}, nil), []string{"10.98.0.0/31"}},
		{"sub pool outside", "BadRequest", conf(&libnetwork.IpamConf{PreferredPool: "10.98.0.0/24", SubPool: "10.97.0.0/25"}, nil), []string{"10.97.0.0/25"}},
		{"auxiliary address outside", "Forbidden", conf(&libnetwork.IpamConf{PreferredPool: "10.98.0.0/24", AuxAddresses: map[string]string{"host": "10.97.0.5"}}, nil), []string{"host", "10.97.0.5"}},
		{"boolean", "BadRequest", label(labelICC, "perhaps"), []string{labelICC, "perhaps"}},
		{"MTU", "BadRequest", label(netlabel.DriverMTU, "-1"), []string{netlabel.DriverMTU, "-1"}},
		{"MTU is a word", "BadRequest", label(netlabel.DriverMTU, "big"), []string{netlabel.DriverMTU, "big"}},
		{"MTU too small for IPv6", "BadRequest", label(netlabel.DriverMTU, "1000"), []string{netlabel.DriverMTU, "1000"}},
		{"host binding", "BadRequest", label(labelHostIP, "1.2.3"), []string{labelHostIP, "1.2.3"}},
		{"host binding, IPv6", "BadRequest", label(labelBinding6, hostV4), []string{labelBinding6, hostV4}},
		{"two IPv6 host bindings", "BadRequest", func(c *netConfig) { c.labels[labelHostIP], c.labels[labelBinding6] = "fd98::1", "fd98::2" }, []string{labelHostIP, "fd98::1"}},
		{"gateway mode", "BadRequest", label(labelMode4, "bridged"), []string{labelMode4, "bridged"}},
		{"gateway mode, IPv6", "BadRequest", label(labelMode6, "NAT"), []string{labelMode6, "NAT"}},
		{"isolated but not internal", "BadRequest", label(labelMode6, "isolated"), []string{labelMode6, "isolated"}},
		{"source address", "BadRequest", label(labelSource4, "fd98::1"), []string{labelSource4, "fd98::1"}},
		{"source address, IPv6", "BadRequest", label(labelSource6, "10.98.0.1"), []string{labelSource6, "10.98.0.1"}},
		{"unspecified source address", "BadRequest", label(labelSource4, "0.0.0.0"), []string{labelSource4, "0.0.0.0"}},
		{"loopback source address", "BadRequest", label(labelSource6, "::1"), []string{labelSource6, "::1"}},
		{"inhibit is a word", "BadRequest", label(labelInhibit, "maybe"), []string{labelInhibit, "maybe"}},
		{"trusted interface without a name", "BadRequest", label(labelTrusted, "eth0::eth1"), []string{labelTrusted, "eth0::eth1"}},
		{"trusted interface too long", "BadRequest", label(labelTrusted, "sixteen-letters!"), []string{labelTrusted, "sixteen-letters!"}},
		{"mark outside of its mask", "BadRequest", label(labelMark, "0x3/0x1"), []string{labelMark, "0x3/0x1"}},
		{"mark is a word", "BadRequest", label(labelMark, "blue"), []string{labelMark, "blue"}},
		{"interface prefix", "BadRequest", label(labelPrefix, "a/b"), []string{labelPrefix, "a/b"}},
		{"interface prefix too long", "BadRequest", label(labelPrefix, "elevenbytes"), []string{labelPrefix, "elevenbytes"}},
		{"IPv4 is a word", "BadRequest", label(labelIPv4, "never"), []string{labelIPv4, "never"}},
		{"IPv4 is a number", "BadRequest", generic(labelIPv4, 0), []string{labelIPv4, "int"}},
		{"IPv4 off with a subnet", "BadRequest", label(labelIPv4, "false"), []string{labelIPv4, "IPv4 subnet"}},
		{"neither family", "BadRequest", func(c *netConfig) {
			c.v4, c.v6, c.labels[labelIPv4] = nil, nil, "false"
			c.more = append(c.more, libnetwork.NetworkOptionEnableIPv6(false))
		}, []string{labelIPv4, "at least one"}},
		{"bridge name", "BadRequest", label(labelName, "sixteen-letters!"), []string{"sixteen-letters!"}},
		{"bridge name with a slash", "BadRequest", label(labelName, "../br2"), []string{"../br2"}},
		{"bridge name of dots", "BadRequest", label(labelName, ".."), []string{`".."`}},
		{"bridge name with a blank", "BadRequest", label(labelName, "br 2"), []string{"br 2"}},
		{"bridge name with a colon", "BadRequest", label(labelName, "br2:1"), []string{"br2:1"}},
		{"bridge name of the loopback", "Forbidden", label(labelName, "lo"), []string{"lo"}},
		{"masquerading is a word", "BadRequest", label(labelMasquerade, "nat"), []string{labelMasquerade, "nat"}},
		{"default bridge is a word", "BadRequest", label(labelDefault, "docker0"), []string{labelDefault, "docker0"}},
		{"default bridge that does not exist", "Forbidden", label(labelDefault, "true"), []string{"br2"}},
		{"IPv6 label is a word", "BadRequest", label(netlabel.EnableIPv6, "v6"), []string{netlabel.EnableIPv6, "v6"}},
		{"MTU too large", "BadRequest", label(netlabel.DriverMTU, "65536"), []string{netlabel.DriverMTU, "65536"}},
		{"MTU that no link can have", "BadRequest", label(netlabel.DriverMTU, "67"), []string{netlabel.DriverMTU, "67"}},
		{"host binding to a group", "BadRequest", label(labelHostIP, "224.0.0.1"), []string{labelHostIP, "224.0.0.1"}},
		{"host binding to all hosts", "BadRequest", label(labelHostIP, "255.255.255.255"), []string{labelHostIP, "255.255.255.255"}},
		{"host binding with a zone", "BadRequest", label(labelBinding6, "fe80::1%eth0"), []string{labelBinding6, "fe80::1%eth0"}},
		{"host binding to one link", "BadRequest", label(labelBinding6, "fe80::1"), []string{labelBinding6, "fe80::1", "link-local"}},
		{"host binding of IPv4 to one link", "BadRequest", label(labelHostIP, "fe80::1"), []string{labelHostIP, "fe80::1", "link-local"}},
		{"source address of one link", "BadRequest", label(labelSource6, "fe80::1"), []string{labelSource6, "fe80::1", "link-local"}},
		{"source address of a group", "BadRequest", label(labelSource6, "ff02::1"), []string{labelSource6, "ff02::1"}},
		{"trusted interface with a slash", "BadRequest", label(labelTrusted, "eth/0"), []string{labelTrusted, "eth/0"}},
		{"mark without a mask", "BadRequest", label(labelMark, "1/0"), []string{labelMark, "1/0"}},
		{"mark too large", "BadRequest", label(labelMark, "0x100000000"), []string{labelMark, "0x100000000"}},
		{"mark of what has none", "BadRequest", label(labelMark, "0"), []string{labelMark, "without a mark"}},
		{"mark of what has none in the mask", "BadRequest", label(labelMark, "0x0/0xff"), []string{labelMark, "0x0/0xff"}},
		{"negative mark", "BadRequest", label(labelMark, "-1"), []string{labelMark, "-1"}},
		{"IPv6 is a word", "BadRequest", generic(netlabel.EnableIPv6, "yes"), []string{netlabel.EnableIPv6, "string"}},
		{"internal is a number", "BadRequest", generic(netlabel.Internal, 1), []string{netlabel.Internal, "int"}},
		{"options are a list", "BadRequest", generic(netlabel.GenericData, []string{"x"}), []string{netlabel.GenericData, "[]string"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n, err := h.tryNetwork(2, tt.opt)
			failed(t, err, tt.class, append(tt.text, "net2")...)
			if err == nil {
				h.drop(n)
			}
			same(t, "the machine", before, func() string { return machine(t) })
			same(t, "the store", store, h.store)
		})
	}
	for _, tt := range []struct{ name, driver, network, class string }{
		{"blank name", "bridge", " \t", "BadRequest"},
		{"no name", "bridge", "", "BadRequest"},
		{"name taken", "bridge", "net1", "Forbidden"},
		{"unknown type", "bridgee", "net2", "NotFound"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := h.ctl.NewNetwork(tt.driver, tt.network)
			failed(t, err, tt.class)
			same(t, "the machine", before, func() string { return machine(t) })
			same(t, "the store", store, h.store)
		})
	}
	t.Run("no such network", func(t *testing.T) {
		_, err := h.ctl.NetworkByName("net7")
		failed(t, err, "NotFound", "net7")
		_, err = h.ctl.NetworkByID("net7")
		failed(t, err, "NotFound", "net7")
		_, err = h.ctl.SandboxByID("sb7")
		failed(t, err, "NotFound", "sb7")
	})
	if l := h.ctl.Networks(); len(l) != 1 {
		t.Errorf("there are %d networks, want 1", len(l))
	}
}

func TestBadEndpoints(t *testing.T) {
	h := newHost(t)
	n := h.network(1)
	h.container("c1", nil, n)
	before, store := machine(t), h.store()
	fixed := func(v4, v6 string) libnetwork.EndpointOption {
		return libnetwork.CreateOptionIpam(net.ParseIP(v4), net.ParseIP(v6), nil)
	}
	mac := func(b ...byte) libnetwork.EndpointOption {
		return libnetwork.EndpointOptionGeneric(map[string]any{netlabel.MacAddress: net.HardwareAddr(b)})
	}
	named := func(s string) libnetwork.EndpointOption {
		return libnetwork.EndpointOptionGeneric(map[string]any{labelIfName: s})
	}
	option := func(label string, v any) libnetwork.EndpointOption {
		return libnetwork.EndpointOptionGeneric(map[string]any{label: v})
	}
	for _, tt := range []struct {
		name, class, endpoint string
		opt                   libnetwork.EndpointOption
		text                  string
	}{
		{"blank name", "BadRequest", " ", nil, ""},
		{"name taken", "Forbidden", "c1", nil, "c1"},
		{"address outside", "BadRequest", "ep", fixed("10.98.0.2", ""), "10.98.0.2"},
		{"address outside, IPv6", "BadRequest", "ep", fixed("", "fd98::2"), "fd98::2"},
		{"address taken", "Forbidden", "ep", fixed("10.99.1.2", ""), "10.99.1.2"},
		{"address taken, IPv6", "Forbidden", "ep", fixed("", "fd99:0:0:1::2"), "fd99:0:0:1::2"},
		{"address of the gateway", "Forbidden", "ep", fixed("10.99.1.1", ""), "10.99.1.1"},
		{"address of the network", "BadRequest", "ep", fixed("10.99.1.0", ""), "10.99.1.0"},
		{"address of the network, IPv6", "BadRequest", "ep", fixed("", "fd99:0:0:1::"), "fd99:0:0:1::"},
		{"broadcast address", "BadRequest", "ep", fixed("10.99.1.255", ""), "10.99.1.255"},
		{"multicast MAC", "BadRequest", "ep", mac(1, 0, 0x5e, 0, 0, 1), "01:00:5e:00:00:01"},
		{"MAC of 5 bytes", "BadRequest", "ep", mac(2, 0, 0, 0, 1), "02:00:00:00:01"},
		{"MAC of 8 bytes", "BadRequest", "ep", mac(2, 0, 0, 0, 1, 2, 3, 4), "02:00:00:00:01:02:03:04"},
		{"interface name", "BadRequest", "ep", named("a/b"), "a/b"},
		{"interface name too long", "BadRequest", "ep", named("sixteen-letters!"), "sixteen-letters!"},
		{"interface name of the loopback", "BadRequest", "ep", named("lo"), "lo"},
		{"interface name of all settings", "BadRequest", "ep", named("all"), "keeps that name"},
		{"interface name of the settings of new links", "BadRequest", "ep", named("default"), "keeps that name"},
		{"interface name that a record would not keep", "BadRequest", "ep", named("\xff"), "UTF-8"},
		{"interface name of another type", "BadRequest", "ep", option(labelIfName, 7), labelIfName + " cannot be a int"},
		{"sysctls of another type", "BadRequest", "ep", option(labelSysctls, []string{"x"}), labelSysctls + " cannot be a []string"},
		{"exposed ports of another type", "BadRequest", "ep", option(netlabel.ExposedPorts, "80"), netlabel.ExposedPorts + " cannot be a string"},
		{"zero MAC", "BadRequest", "ep", mac(0, 0, 0, 0, 0, 0), "00:00:00:00:00:00"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ep, err := n.CreateEndpoint(tt.endpoint, tt.opt)
			failed(t, err, tt.class, tt.text)
			if err == nil {
				_ = ep.Delete(true)
			}
			same(t, "the machine", before, func() string { return machine(t) })
			same(t, "the store", store, h.store)
		})
	}
}

func TestBadContainers(t *testing.T) {
	h := newHost(t)
	n := h.network(1)
	h.container("taken", nil, n)
	before, store := machine(t), h.store()
	one := func(b types.PortBinding) []libnetwork.SandboxOption { return publish(b) }
	for _, tt := range []struct {
		name, class, id string
		opts            []libnetwork.SandboxOption
		text            string
	}{
		{"blank id", "BadRequest", " ", nil, ""},
		{"second sandbox", "BadRequest", "taken", nil, "taken"},
		{"port 0", "BadRequest", "c1", one(types.PortBinding{Proto: types.TCP, HostPort: 7001}), "0"},
		{"reversed range", "BadRequest", "c1", one(types.PortBinding{Proto: types.TCP, Port: 1, HostPort: 7005, HostPortEnd: 7001}), "7005-7001"},
		{"unknown protocol", "BadRequest", "c1", one(types.PortBinding{Proto: 99, Port: 1, HostPort: 7001}), "99"},
		{"ICMP", "BadRequest", "c1", one(types.PortBinding{Proto: types.ICMP, Port: 1, HostPort: 7001}), "1"},
		{"host address of 3 bytes", "BadRequest", "c1", one(types.PortBinding{Proto: types.TCP, Port: 1, HostIP: net.IP{1, 2, 3}}), "[1 2 3]"},
		{"host address of one link", "BadRequest", "c1", one(types.PortBinding{Proto: types.TCP, Port: 1, HostIP: net.ParseIP("fe80::1"), HostPort: 7001}), "fe80::1 is a link-local address"},
		{"host address of one link, some ports", "BadRequest", "c1", one(types.PortBinding{Proto: types.TCP, Port: 1, HostIP: net.ParseIP("fe80::1"), HostPort: 7001, HostPortEnd: 7005}), "fe80::1 is a link-local address"},
		{"ports of another type", "BadRequest", "c1", []libnetwork.SandboxOption{libnetwork.OptionGeneric(map[string]any{netlabel.PortMap: "80"})}, netlabel.PortMap},
		{"exposed ports of another type", "BadRequest", "c1", []libnetwork.SandboxOption{libnetwork.OptionGeneric(map[string]any{netlabel.ExposedPorts: 80})}, netlabel.ExposedPorts},
		{"name server", "BadRequest", "c1", []libnetwork.SandboxOption{libnetwork.OptionDNS("dns.example")}, "dns.example"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sb, err := h.ctl.NewSandbox(tt.id, tt.opts...)
			failed(t, err, tt.class, tt.text)
			if err == nil {
				_ = sb.Delete()
			}
			same(t, "the machine", before, func() string { return machine(t) })
			same(t, "the store", store, h.store)
		})
	}
}

// TestOddLinkNames names links as Linux allows it and a firewall may misread it: as a
// pattern, as an option or as the end of a word.
func TestOddLinkNames(t *testing.T) {
	onEach(t, "a link's name that some firewall could misread is refused, and any other is no more than a name", testOddLinkNames)
}

func testOddLinkNames(t *testing.T, on backend) {
	h := newHost(t, on.option())
	before, store := machine(t), h.store()
	for _, tt := range []struct {
		name string
		ok   bool
	}{
		{"br+", false},
		{"+", false},
		{`br"`, false},
		{`br\`, false},
		{"br'", false},
		{"-br", false},
		{"!br", false},
		{"br*", false},
		{"all", false},
		{"default", false},
		{"br\xff", false},
		{"à", false}, // has a byte that the kernel takes for a blank
		{"br\x01", false},
		{"#a+b,c;$(x)", true},
		{"ä", true},
	} {
		for what, key := range map[string]string{"bridge": labelName, "trusted interface": labelTrusted} {
			t.Run(what+" "+strconv.Quote(tt.name), func(t *testing.T) {
				defer h.within(t)()
				n, err := h.tryNetwork(1, label(key, tt.name))
				if !tt.ok {
					failed(t, err, "BadRequest", "net1", strings.Trim(strconv.Quote(tt.name), `"`))
				} else if err != nil {
					t.Fatal(err)
				}
				if err == nil {
					c := h.container("c1", nil, n)
					h.visitBy([]string{"tcp"}, append(to("host", h.own, c, "c1"), to("lan", h.lan, c, "")...)...)
					h.remove(c)
					h.drop(n)
				}
				same(t, "the machine", before, func() string { return machine(t) })
				same(t, "the store", store, h.store)
			})
		}
	}
}

// TestFullBridge joins a container to a bridge that has all ports that Linux lets it
// have: with ends of veths, since every kernel that runs us has these.
func TestFullBridge(t *testing.T) {
	onEachBesideDocker(t, "the 1024th port of a bridge is refused in words, and nothing remains", testFullBridge)
}

func testFullBridge(t *testing.T, on backend) {
	h := newHost(t, on.option())
	n := h.network(1)
	const ports, group = 1023, "77"
	var script strings.Builder
	for i := range (ports + 1) / 2 {
		fmt.Fprintf(&script, "link add a%d group %s master br1 type veth peer name b%d\n", i, group, i)
		if i < ports/2 {
			fmt.Fprintf(&script, "link set b%d group %s master br1\n", i, group)
		}
	}
	path := filepath.Join(t.TempDir(), "batch")
	if err := os.WriteFile(path, []byte(script.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	h.sh("ip", "-batch", path)
	t.Cleanup(func() { h.sh("ip", "link", "del", "group", group) })
	before, store := machine(t), h.store()
	_, err := h.tryContainer("c1", both(nil, 7001, 0), n)
	failed(t, err, "NoService", "c1", "bridge br1 is full", "1023")
	same(t, "the machine", before, func() string { return machine(t) })
	same(t, "the store", store, h.store)
	for proto := range protocols {
		listenable(t, proto, ":7001")
	}
	h.sh("ip", "link", "del", "a0")
	h.container("c1", both(nil, 7001, 0), n)
	h.visit(visit{who: "lan", from: h.lan, to: at(hostV4, 7001), want: "c1"}, visit{who: "lan", from: h.lan, to: at(hostV6, 7001), want: "c1"})
}

func TestBadConfig(t *testing.T) {
	before := machine(t)
	for _, tt := range []struct {
		name, class string
		cfg         any
		text        string
	}{
		{"a word", "BadRequest", "x", "string"},
		{"a word for a boolean", "BadRequest", map[string]any{"EnableIPForwarding": "true"}, "EnableIPForwarding"},
		{"a number for a boolean", "BadRequest", map[string]any{"EnableIPTables": 1}, "EnableIPTables"},
		{"a word for direct routing", "BadRequest", map[string]any{"AllowDirectRouting": "yes"}, "AllowDirectRouting"},
		{"a word for the userland proxy", "BadRequest", map[string]any{"EnableUserlandProxy": "no"}, "EnableUserlandProxy"},
		{"an unknown firewall backend", "BadRequest", map[string]any{"FirewallBackend": "ipfw"}, "ipfw"},
		{"a number for the firewall backend", "BadRequest", map[string]any{"FirewallBackend": 4}, "FirewallBackend"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := libnetwork.New(
				config.OptionDataDir(filepath.Join(dir, "data")), config.OptionRunDir(filepath.Join(dir, "run")),
				config.OptionDriverConfig("bridge", map[string]any{netlabel.GenericData: tt.cfg}),
			)
			failed(t, err, tt.class, "bridge", tt.text)
			if names, err := os.ReadDir(dir); err != nil || len(names) > 0 {
				t.Errorf("%v has been made (%v)", names, err)
			}
		})
	}
	t.Run("a file that does not parse", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "dnet.toml")
		if err := os.WriteFile(path, []byte("[daemon\ndebug="), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := config.ParseConfig(path)
		failed(t, err, "BadRequest", path)
	})
	same(t, "the machine", before, func() string { return machine(t) })
}
