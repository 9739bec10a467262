package nft_test

import (
	"fmt"
	"net/netip"
	"os/exec"
	"testing"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nft"
	"github.com/libnetwork/libnetwork/internal/nstest"
)

func TestMain(m *testing.M) { nstest.Main(m) }

func open(t testing.TB, cfg nft.Config) *nft.Firewall {
	t.Helper()
	f, err := nft.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func network(i int, change ...func(*model.FirewallFamily)) model.FirewallNetwork {
	n := model.FirewallNetwork{
		ID:     fmt.Sprintf("%012x%052x", i, i),
		Bridge: fmt.Sprintf("br%d", i),
		V4: &model.FirewallFamily{
			Subnets: []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("172.%d.%d.0/24", 20+i/256, i%256))}, Masquerade: true, ICC: true,
		},
		V6: &model.FirewallFamily{
			Subnets: []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("fd00:%x::/64", i))}, Masquerade: true, ICC: true,
		},
	}
	for _, c := range change {
		c(n.V4)
		c(n.V6)
	}
	return n
}

func command(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}

func TestSmoke(t *testing.T) {
	nstest.Run(t, func() {
		f := open(t, nft.Config{})
		c := nft.Change{Networks: []model.FirewallNetwork{network(1), network(2)}, Ports: []model.Port{
			{Proto: 6, Host: netip.MustParseAddr("0.0.0.0"), First: 8080, Last: 8080, Addr: netip.MustParseAddr("172.20.1.2"), Port: 80, Owner: "ep1"},
			{Proto: 6, Host: netip.MustParseAddr("0.0.0.0"), First: 9000, Last: 9009, Addr: netip.MustParseAddr("172.20.1.2"), Port: 9000, Owner: "ep1"},
			{Proto: 6, Host: netip.MustParseAddr("127.0.0.1"), First: 9000, Last: 9003, Addr: netip.MustParseAddr("172.20.1.2"), Port: 9005, Owner: "ep1"},
			{Proto: 17, Host: netip.MustParseAddr("::"), First: 60000, Last: 65535, Addr: netip.MustParseAddr("fd00:1::2"), Port: 60000, Owner: "ep1"},
			{Proto: 17, Host: netip.MustParseAddr("::1"), First: 53, Last: 53, Addr: netip.MustParseAddr("fd00:1::2"), Port: 54, Owner: "ep1"},
		}}
		if err := f.Apply(t.Context(), c, nft.Change{}); err != nil {
			t.Fatal(err)
		}
		t.Log(command(t, "nft", "list", "ruleset"))
		s, err := f.List(t.Context())
		t.Log(s, err)
		fmt.Println(f.Reconcile(t.Context(), c, nft.Guard{}))
		fmt.Println(f.Reconcile(t.Context(), c, nft.Guard{V4: true}))
		fmt.Println(f.Reconcile(t.Context(), c, nft.Guard{V4: true}))
		if err := f.Apply(t.Context(), nft.Change{}, c); err != nil {
			t.Fatal(err)
		}
		t.Log(command(t, "nft", "list", "ruleset"))
		fmt.Println(f.SetGuard(t.Context(), nft.Guard{}))
		t.Log(command(t, "nft", "list", "ruleset"))
	})
}
