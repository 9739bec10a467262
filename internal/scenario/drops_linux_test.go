package scenario_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork/internal/exposure"
	"github.com/libnetwork/libnetwork/internal/nstest"
)

// droppedBy are the chains of somebody else that a way is warned of.
func droppedBy(r exposure.Row) (chains []string) {
	for _, w := range r.Warnings {
		if rest, ok := strings.CutPrefix(w, "may be dropped: "); ok {
			chain, _, _ := strings.Cut(rest, " of somebody else")
			chains = append(chains, chain)
		}
	}
	return chains
}

func TestForeignDrops(t *testing.T) {
	onEach(t, "case 42 a chain of somebody else that drops what comes in or is forwarded is named, where it does", testForeignDrops)
}

func testForeignDrops(t *testing.T, on backend) {
	const strict = "add table inet strict; add chain inet strict "
	for _, tt := range []struct {
		name     string
		needs    nstest.Feature
		set, end []string
		// pass has it accept what ours does.
		pass []string
		// by is the chain in which packets end, input that they are those for a process.
		by    string
		input bool
		// our says with which backend our own chains come first.
		our backend
	}{
		{
			name: "policy of a table", needs: nstest.NFTables, by: "table inet strict, chain passing",
			set: []string{"nft", strict + "passing { type filter hook forward priority filter; policy drop; }"}, end: []string{"nft", "delete table inet strict"},
		},
		{
			name: "last rule of a table", needs: nstest.NFTables, by: "table inet strict, chain passing",
			set: []string{"nft", strict + "passing { type filter hook forward priority 20; }; add rule inet strict passing meta l4proto ipv6-icmp accept; " +
				"add rule inet strict passing counter reject with icmpx admin-prohibited"},
			pass: []string{"nft", "insert rule inet strict passing meta mark and 0x2000000 == 0x2000000 accept"},
			end:  []string{"nft", "delete table inet strict"},
		},
		{
			name: "what comes in", needs: nstest.NFTables, by: "table inet strict, chain in", input: true,
			set: []string{"nft", strict + `in { type filter hook input priority 0; policy drop; }; add rule inet strict in iif lo accept; ` +
				"add rule inet strict in meta l4proto ipv6-icmp accept"},
			end: []string{"nft", "delete table inet strict"},
		},
		{
			name: "iptables-nft", needs: nstest.IPTablesNFT, by: "table ip filter, chain FORWARD", our: iptablesNFT,
			set: []string{"iptables-nft", "-w -P FORWARD DROP"}, end: []string{"iptables-nft", "-w -P FORWARD ACCEPT"},
		},
		{
			name: "iptables-legacy", needs: nstest.IPTablesLegacy, by: "table ip filter (legacy), chain FORWARD", our: iptablesLegacy,
			set: []string{"iptables-legacy", "-w -A FORWARD -j REJECT"}, end: []string{"iptables-legacy", "-w -D FORWARD -j REJECT"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			nstest.Require(t, tt.needs)
			h := newHost(t, on.option())
			run := func(args []string) {
				if args[0] != "nft" {
					args = append(args[:1:1], strings.Fields(args[1])...)
				}
				h.sh(args...)
			}
			n := h.network(1, only4)
			c := h.container("c1", both(nil, 7001, 0), n)
			check := func(dropped bool) {
				t.Helper()
				kernel, process := visit{"lan", h.lan, at(hostV4, 7001), "c1", lanV4}, visit{who: "lan", from: h.lan, to: at(hostV6, 7001), want: "c1"}
				if dropped && tt.input {
					process.want = ""
				} else if dropped {
					kernel.want = ""
				}
				h.visit(kernel, process)
				for _, r := range h.exposed() {
					var want []string
					if dropped && r.From == exposure.Internet && r.Forwarded == tt.input {
						want = []string{tt.by}
					}
					if got := droppedBy(r); r.From == exposure.Internet && !slices.Equal(got, want) || r.From == exposure.ThisHost && got != nil {
						t.Errorf("what drops what comes from %s to %s: %q, want %q", r.From, r.Addr, got, want)
					}
				}
			}
			check(false)
			run(tt.set)
			defer run(tt.end)
			check(tt.our != on)
			if tt.pass != nil {
				h.sh(tt.pass...)
				h.visit(visit{"lan", h.lan, at(hostV4, 7001), "c1", lanV4})
			}
			h.remove(c)
			h.drop(n)
		})
	}
}
