package model_test

import (
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/libnetwork/libnetwork/internal/drivers/bridge"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/types"
)

var driver = bridge.Driver{Group: 7}

func network(name string, internal bool, gateway4, gateway6 string) *model.Network {
	n := &model.Network{ID: "id-" + name, Name: name, Internal: internal, Bridge: &model.BridgeNetwork{Link: "br-" + name}}
	if gateway4 != "" {
		n.Bridge.Gateway4 = netip.MustParseAddr(gateway4)
	}
	if gateway6 != "" {
		n.Bridge.Gateway6 = netip.MustParseAddr(gateway6)
	}
	return n
}

func attachment(n *model.Network, id string, priority int, v4, v6 string) model.Attachment {
	ep := &model.Endpoint{ID: id, Name: id, Attached: &model.Attached{Priority: priority, Host: "veth-" + id, Name: "eth-" + id}}
	if v4 != "" {
		ep.V4 = netip.MustParsePrefix(v4)
	}
	if v6 != "" {
		ep.V6 = netip.MustParsePrefix(v6)
	}
	return model.Attachment{Network: n, Endpoint: ep, Driver: driver}
}

func TestViewOrder(t *testing.T) {
	all := []model.Attachment{
		attachment(network("alpha", true, "", ""), "e1", 9, "10.1.0.2/24", ""),
		attachment(network("beta", false, "10.2.0.1", ""), "e2", 0, "10.2.0.2/24", ""),
		attachment(network("gamma", false, "10.3.0.1", "fd00:3::1"), "e3", 0, "10.3.0.2/24", "fd00:3::2/64"),
		attachment(network("zeta", false, "", "fd00:4::1"), "e4", 5, "", "fd00:4::2/64"),
		attachment(network("beta", false, "10.2.0.1", ""), "e5", 0, "10.2.0.3/24", ""),
	}
	want := []string{"e4", "e2", "e5", "e3", "e1"}
	t.Run("OSL-20 the order does not depend on history", func(t *testing.T) {
		for range 50 {
			shuffled := slices.Clone(all)
			rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
			var got []string
			for _, a := range model.NewView(&model.Sandbox{}, shuffled).Attached {
				got = append(got, a.Endpoint.ID)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Fatalf("(-want +got)\n%s", d)
			}
		}
	})
	t.Run("OSL-21 the provider is chosen for each family", func(t *testing.T) {
		v := model.NewView(&model.Sandbox{}, slices.Clone(all))
		if a := v.Provider(false); a == nil || a.Endpoint.ID != "e2" {
			t.Errorf("IPv4 provider %+v, want e2", a)
		}
		if a := v.Provider(true); a == nil || a.Endpoint.ID != "e4" {
			t.Errorf("IPv6 provider %+v, want e4", a)
		}
	})
}

func keys(objs []model.Object) []string {
	var out []string
	for _, o := range objs {
		out = append(out, o.Key())
	}
	slices.Sort(out)
	return out
}

func TestViewObjects(t *testing.T) {
	files := model.Files{Hosts: "/h", ResolvConf: "/r", Hostname: "c1"}
	sb := &model.Sandbox{ID: "sb", Key: "/ns/sb", Files: files, Resolver: 30053, Published: model.PortsOf(
		model.Port{Proto: 6, Host: netip.IPv4Unspecified(), First: 80, Last: 80, Addr: netip.MustParseAddr("10.2.0.2"), Port: 80},
	)}
	joined := []model.Attachment{attachment(network("beta", false, "10.2.0.1", ""), "e2", 0, "10.2.0.2/24", "")}
	with := func(change func(*model.Sandbox)) *model.Sandbox { c := *sb; change(&c); return &c }
	for _, tt := range []struct {
		name string
		view model.View
		want []string
	}{
		{
			"alone", model.NewView(&model.Sandbox{ID: "sb", Key: "/ns/sb"}, nil),
			[]string{"files/sb", "netns//ns/sb"},
		},
		{
			"joined", model.NewView(sb, joined),
			[]string{
				"default/ipv4//ns/sb", "files/sb", "hosts/e2", "netns//ns/sb", "port/6/0.0.0.0:80-80",
				"redirect//ns/sb", "resolvconf/sb", "veth/veth-e2",
			},
		},
		{
			"OSL-18 without a namespace nothing is wired",
			model.NewView(with(func(s *model.Sandbox) { s.External, s.Resolver, s.Published = true, 0, model.Ports{} }), joined),
			[]string{"files/sb", "hosts/e2", "resolvconf/sb"},
		},
		{
			"DNS-8 the host's namespace gets no redirect and no default route",
			model.NewView(with(func(s *model.Sandbox) { s.Host, s.Published = true, model.Ports{} }), joined),
			[]string{"files/sb", "hosts/e2", "netns//ns/sb", "veth/veth-e2"},
		},
		{
			"HST-3 no line without a host name",
			model.NewView(with(func(s *model.Sandbox) { s.Files.Hostname, s.Published, s.Resolver = "", model.Ports{}, 0 }), joined),
			[]string{"default/ipv4//ns/sb", "files/sb", "netns//ns/sb", "resolvconf/sb", "veth/veth-e2"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, keys(tt.view.Objects())); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
	t.Run("what goes with the namespace is not removed one by one", func(t *testing.T) {
		objs := model.NewView(sb, joined).Teardown()
		if d := cmp.Diff([]string{"files/sb", "netns//ns/sb", "port/6/0.0.0.0:80-80", "veth/veth-e2"}, keys(objs)); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
	})
	t.Run("the namespace of somebody else stays, so everything in it goes", func(t *testing.T) {
		v := model.NewView(with(func(s *model.Sandbox) { s.External, s.Path = true, "/proc/1/ns/net" }), joined)
		if d := cmp.Diff(keys(v.Objects()), keys(v.Teardown())); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
	})
}

func TestRecordRoundTrip(t *testing.T) {
	want := &model.Network{
		Version: model.Version, ID: "x", Name: "web", IPAM: model.IPAM{Pools4: []model.Pool{{
			ID: "p", Prefix: netip.MustParsePrefix("10.0.0.0/24"), Gateway: netip.MustParsePrefix("10.0.0.1/24"),
			Aux: map[string]netip.Prefix{"a": netip.MustParsePrefix("10.0.0.9/24")},
		}}},
		Bridge: &model.BridgeNetwork{Link: "br0", Gateway4: netip.MustParseAddr("10.0.0.1")},
	}
	got, err := model.Decode[model.Network](model.Encode(want))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, data := range map[string]string{
		"nothing":         "",
		"no JSON":         "{",
		"another version": `{"version":2,"id":"x"}`,
		"no id":           `{"version":1}`,
		"a wrong type":    `{"version":1,"id":"x","v4":7}`,
		"no address":      `{"version":1,"id":"x","v4":"10.0.0.0/99"}`,
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := model.Decode[model.Endpoint]([]byte(data)); err == nil {
				t.Errorf("decoded %+v", got)
			}
		})
	}
}

// Whatever a record holds, decoding never panics, and what it decodes is written
// as it is read.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"version":1,"id":"x","name":"web","v4":"10.0.0.2/24","attached":{"sandbox":"s","aliases":{"a":"b"}}}`))
	f.Add([]byte(`{"version":1,"id":"x","ipam":{"pools4":[{"prefix":"10.0.0.0/8","aux":{"g":"10.0.0.1/8"}}]}}`))
	f.Add([]byte(`{"version":1,"id":"x","files":{"hosts":"/h"},"publish":[{"proto":6,"host":"::"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		checkDecode[model.Network](t, data)
		checkDecode[model.Endpoint](t, data)
		checkDecode[model.Sandbox](t, data)
	})
}

func checkDecode[T model.Network | model.Endpoint | model.Sandbox](t *testing.T, data []byte) {
	t.Helper()
	v, err := model.Decode[T](data)
	if err != nil {
		return
	}
	text := model.Encode(v)
	again, err := model.Decode[T](text)
	if err != nil {
		// A name that is no UTF-8 is written with replacement characters, which is
		// still readable.
		t.Fatalf("%s: %v", text, err)
	}
	if got := model.Encode(again); !json.Valid(got) || strings.Compare(string(got), string(text)) != 0 {
		t.Errorf("written %s, then %s", text, got)
	}
}

func TestCheckSysctls(t *testing.T) {
	off := []string{"net", "ipv6", "conf", model.InterfaceName, "disable_ipv6"}
	six := netip.MustParsePrefix("fd00::2/64")
	for _, tt := range []struct {
		addr  netip.Prefix
		path  []string
		value string
		bad   bool
	}{
		{six, off, "1", true},
		{six, off, "0x2", true},
		{six, off, " -1", true},
		{six, off, "on", true},
		{six, off, "0", false},
		{six, []string{"net", "ipv6", "conf", model.InterfaceName, "accept_ra"}, "1", false},
		{netip.Prefix{}, off, "1", false},
	} {
		ep := &model.Endpoint{Name: "web", V6: tt.addr, Sysctls: []model.Sysctl{{Path: tt.path, Value: tt.value}}}
		err := ep.CheckSysctls()
		if _, ok := err.(types.BadRequestError); ok != tt.bad || (err != nil) != tt.bad {
			t.Errorf("%s, %v=%s: %v", tt.addr, tt.path, tt.value, err)
		}
	}
}
