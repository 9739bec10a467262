package scenario_test

import "testing"

// TestForeignChains has a rule of somebody else lead a port to a chain that translates whatever
// comes, as kube-proxy does.
func TestForeignChains(t *testing.T) {
	onEachBesideDocker(t, "a port that a foreign rule leads to a chain that translates is not published, and nothing is left", testForeignChains)
}

func testForeignChains(t *testing.T, on backend) {
	h := newHost(t, on.option())
	n := h.network(1)
	type form struct{ name, add, gone string }
	forms := []form{{
		"nft, a map of verdicts", "nft 'table ip other { chain svc { meta l4proto tcp dnat to 10.9.9.9:80; }; " +
			"chain pre { type nat hook prerouting priority -90; tcp dport vmap { 7001 : goto svc }; }; }'", "nft delete table ip other",
	}}
	programs := []string{string(iptablesNFT)}
	if on.alone() == iptablesLegacy {
		programs = append(programs, string(iptablesLegacy))
	}
	for _, prog := range programs {
		nat := prog + " -w -t nat "
		forms = append(forms, form{
			prog, nat + "-N SVC; " + nat + "-A SVC -p tcp -j DNAT --to 10.9.9.9:80; " + nat + "-N NP; " + nat + "-A NP -p tcp --dport 7001 -j SVC; " +
				nat + "-I PREROUTING -m addrtype --dst-type LOCAL -j NP",
			nat + "-D PREROUTING -m addrtype --dst-type LOCAL -j NP; " + nat + "-F NP; " + nat + "-X NP; " + nat + "-F SVC; " + nat + "-X SVC",
		})
	}
	for _, form := range forms {
		t.Run(form.name, func(t *testing.T) {
			defer h.within(t)()
			h.refusedBeside(n, func() { h.sh("sh", "-ec", form.add) }, func() { h.sh("sh", "-ec", form.gone) }, hostV4)
		})
	}
}
