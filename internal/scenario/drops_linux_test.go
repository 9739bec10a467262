package scenario_test

import (
	"os"
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
	const (
		byKernel, byProcess, byBridge = "by the kernel", "by a process", "by the bridge"
		inside                        = "add rule inet strict in iif lo accept; add rule inet strict in meta l4proto ipv6-icmp accept"
	)
	const strict = "add table inet strict; add chain inet strict "
	for _, tt := range []struct {
		name     string
		needs    nstest.Feature
		set, end []string
		// pass has it accept what ours does.
		pass []string
		// by is the chain in which packets end, closes what ways they are on.
		by     string
		closes []string
		// our says with which backend our own chains come first.
		our backend
	}{
		{
			name: "policy of a table", needs: nstest.NFTables, by: "table inet strict, chain passing", closes: []string{byKernel},
			set: []string{"nft", strict + "passing { type filter hook forward priority filter; policy drop; }"}, end: []string{"nft", "delete table inet strict"},
		},
		{
			name: "a table of the name of iptables'", needs: nstest.NFTables, by: "table inet filter, chain FORWARD", closes: []string{byKernel},
			set: []string{"nft", "add table inet filter; add chain inet filter FORWARD { type filter hook forward priority 20; policy drop; }"},
			end: []string{"nft", "delete table inet filter"},
		},
		{
			name: "last rule of a table", needs: nstest.NFTables, by: "table inet strict, chain passing", closes: []string{byKernel},
			set: []string{"nft", strict + "passing { type filter hook forward priority 20; }; add rule inet strict passing meta l4proto ipv6-icmp accept; " +
				"add rule inet strict passing counter reject with icmpx admin-prohibited"},
			pass: []string{"nft", "insert rule inet strict passing meta mark and 0x2000000 == 0x2000000 accept"},
			end:  []string{"nft", "delete table inet strict"},
		},
		{
			name: "what comes in", needs: nstest.NFTables, by: "table inet strict, chain in", closes: []string{byProcess},
			set: []string{"nft", strict + "in { type filter hook input priority 0; policy drop; }; " + inside},
			end: []string{"nft", "delete table inet strict"},
		},
		{
			name: "a dormant table", needs: nstest.NFTables,
			set: []string{"nft", "add table inet strict { flags dormant; }; add chain inet strict passing { type filter hook forward priority 0; policy drop; }"},
			end: []string{"nft", "delete table inet strict"},
		},
		{
			name: "a chain that is jumped to", needs: nstest.NFTables, by: "table inet strict, chain passing", closes: []string{byKernel},
			set: []string{"nft", strict + "passing { type filter hook forward priority 20; }; add chain inet strict last; " +
				"add rule inet strict passing counter jump last; add rule inet strict last meta l4proto ipv6-icmp accept; add rule inet strict last drop"},
			pass: []string{"nft", "insert rule inet strict last meta mark and 0x2000000 == 0x2000000 accept"},
			end:  []string{"nft", "delete table inet strict"},
		},
		{
			name: "before routes are looked up", needs: nstest.NFTables, by: "table inet strict, chain in", closes: []string{byKernel, byProcess},
			set: []string{"nft", strict + "in { type filter hook prerouting priority 0; policy drop; }; " + inside},
			end: []string{"nft", "delete table inet strict"},
		},
		{
			// What the host itself sends passes it too.
			name: "behind all routes", needs: nstest.NFTables, by: "table inet strict, chain out", closes: []string{byKernel},
			set: []string{"nft", strict + "out { type filter hook postrouting priority 0; policy drop; }; add rule inet strict out fib saddr type local accept"},
			end: []string{"nft", "delete table inet strict"},
		},
		{
			name: "between members", needs: nstest.NFTables, by: "table bridge strict, chain between", closes: []string{byBridge},
			set: []string{"nft", "add table bridge strict; add chain bridge strict between { type filter hook forward priority 0; policy drop; }"},
			end: []string{"nft", "delete table bridge strict"},
		},
		{
			name: "iptables-nft", needs: nstest.IPTablesNFT, by: "table ip filter, chain FORWARD", closes: []string{byKernel}, our: iptablesNFT,
			set: []string{"iptables-nft", "-w -P FORWARD DROP"}, end: []string{"iptables-nft", "-w -P FORWARD ACCEPT"},
		},
		{
			name: "iptables-legacy", needs: nstest.IPTablesLegacy, by: "table ip filter (legacy), chain FORWARD", closes: []string{byKernel}, our: iptablesLegacy,
			set: []string{"iptables-legacy", "-w -A FORWARD -m comment --comment last -j REJECT"},
			end: []string{"iptables-legacy", "-w -D FORWARD -m comment --comment last -j REJECT"},
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
			c, other := h.container("c1", both(nil, 7001, 0), n), h.container("c2", nil, n)
			check := func(dropped, shown bool) {
				t.Helper()
				h.frames(shown)
				kernel, process := visit{"lan", h.lan, at(hostV4, 7001), "c1", lanV4}, visit{who: "lan", from: h.lan, to: at(hostV6, 7001), want: "c1"}
				member, published := visit{who: "c2", from: other.ns, to: at(c.v4, port), want: "c1"}, visit{who: "c2", from: other.ns, to: at(hostV4, 7001), want: "c1"}
				// Frames that are shown pass chains of both kinds.
				closed := func(way string, too ...string) bool {
					return dropped && (slices.Contains(tt.closes, way) || shown && slices.ContainsFunc(too, func(w string) bool { return slices.Contains(tt.closes, w) }))
				}
				for v, is := range map[*visit]bool{
					&kernel: closed(byKernel), &process: closed(byProcess), &member: closed(byBridge, byKernel), &published: closed(byKernel, byBridge),
				} {
					if is {
						v.want = ""
					}
				}
				h.visit(kernel, process, member, published)
				for _, r := range h.exposed() {
					var is bool
					switch {
					case r.From == exposure.Neighbour && r.Addr == r.Target:
						is = closed(byBridge, byKernel)
					case r.From == exposure.Neighbour && !r.Forwarded:
						is = closed(byKernel, byBridge)
					case r.From != exposure.ThisHost && r.Forwarded:
						is = closed(byProcess)
					case r.From != exposure.ThisHost:
						is = closed(byKernel)
					}
					var want []string
					if is {
						want = []string{tt.by}
					}
					if got := droppedBy(r); !slices.Equal(got, want) {
						t.Errorf("what drops what comes from %s to %s: %q, want %q, frames shown: %v", r.From, r.Addr, got, want, shown)
					}
				}
			}
			check(false, false)
			run(tt.set)
			defer run(tt.end)
			check(tt.our != on, false)
			if _, err := os.Stat("/proc/sys/net/bridge"); err == nil {
				check(tt.our != on, true)
				h.frames(false)
			}
			if tt.pass != nil {
				h.sh(tt.pass...)
				h.visit(visit{"lan", h.lan, at(hostV4, 7001), "c1", lanV4})
			}
			h.remove(other)
			h.remove(c)
			h.drop(n)
		})
	}
}
