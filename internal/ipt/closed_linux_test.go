package ipt_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/libnetwork/libnetwork/internal/fwtest"
	"github.com/libnetwork/libnetwork/internal/ipt"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nstest"
)

// What is established passes neither into nor out of an internal network of another data
// directory, whoever of them stands first in FORWARD, and whatever becomes of the chains.
func TestClosedToEstablished(t *testing.T) {
	onEach(t, func(t *testing.T, v ipt.Variant) {
		nstest.Require(t, nstest.Veth)
		members := router(t)
		run := func(lines ...string) {
			t.Helper()
			for _, l := range lines {
				nstest.Command(t, append([]string{"iptables-" + string(v), "-w"}, strings.Fields(l)...)...)
			}
		}
		look := func(f *ipt.Firewall, want model.FirewallChange) {
			t.Helper()
			for range 2 {
				if _, err := f.Reconcile(t.Context(), want, model.FirewallGuard{}); err != nil {
					t.Error(err)
				}
			}
			reconcile(t, f, want, model.FirewallGuard{}, false)
		}
		a, b := open(t, ipt.Config{Variant: v}), open(t, ipt.Config{Variant: v, Name: "libnetwork-2"})
		open1 := func(f *model.FirewallFamily) { f.Mode, f.Masquerade = model.ModeNATUnprotected, false }
		one, other := fwtest.Networks(fwtest.Network(1, open1)), fwtest.Networks(fwtest.Network(4))
		inner, none := fwtest.Networks(fwtest.Network(2, fwtest.Internal)), model.FirewallChange{}
		both := fwtest.Networks(other.Networks[0], inner.Networks[0])

		apply(t, b, other, none)
		apply(t, a, one, none)
		flow := newFlow(t, members[0], members[1])
		flow.is("before", true)
		apply(t, b, inner, none)
		closed := func(when string) {
			t.Helper()
			flow.is(when, false)
			if t.Failed() {
				t.Fatal(nstest.Command(t, "iptables-"+string(v), "-w", "-S"))
			}
		}
		closed("a network is closed behind another's rules")
		run("-F LIBNETWORK-2-CLOSED")
		flow.is("somebody opens it", true)
		look(b, both)
		closed("filled again")
		// The kernel lets a chain go only when nothing leads to it.
		run("-F LIBNETWORK-PASS", "-D LIBNETWORK-2-FORWARD 1", "-F LIBNETWORK-2-CLOSED", "-X LIBNETWORK-2-CLOSED")
		look(b, both)
		look(a, one)
		closed("lost and made again")
		for _, chain := range []string{"LIBNETWORK-PASS", "LIBNETWORK-CT", "LIBNETWORK-2-CLOSED"} {
			run("-E " + chain + " RENAMED")
			closed(chain + " has another name")
			look(a, one)
			closed(chain + " has another name, as the other sees")
			look(b, both)
			closed(chain + " is made again")
			look(a, one)
			closed(chain + " is made again, and both have looked")
			run("-F RENAMED", "-X RENAMED") // nothing leads there
		}
		run("-D LIBNETWORK-PASS 1")
		look(b, both)
		closed("he asks who was asked no more")
		run("-D LIBNETWORK-PASS 1")
		look(a, one)
		closed("who asked no more asks")
		apply(t, a, none, one)
		apply(t, a, one, none)
		closed("who accepts comes later")
		apply(t, b, none, inner)
		flow.is("opened", true)
		apply(t, a, none, one)
		apply(t, b, none, other)
		if left := ours(t, v); left != "" {
			t.Errorf("left behind:\n%s", left)
		}
	})
}

// A flow is one connection of UDP between two members.
type flow struct {
	t     *testing.T
	ends  [2]*net.UDPConn
	count int
}

func newFlow(t *testing.T, ns1, ns2 *nstest.NS) *flow {
	t.Helper()
	f := &flow{t: t}
	for i, ns := range []*nstest.NS{ns1, ns2} {
		err := ns.Do(func() (err error) {
			f.ends[i], err = net.ListenUDP("udp4", f.addr(i))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.ends[i].Close() })
	}
	return f
}

func (*flow) addr(i int) *net.UDPAddr {
	return &net.UDPAddr{IP: net.IPv4(172, 20, byte(i+1), 2), Port: 5555}
}

// is says what is wrong if packets do not pass in both directions, or not at all. The second member
// is the first to send.
func (f *flow) is(when string, open bool) {
	f.t.Helper()
	for _, from := range []int{1, 0} {
		f.count++
		sent, to := fmt.Sprint(f.count), f.ends[1-from]
		if _, err := f.ends[from].WriteToUDP([]byte(sent), f.addr(1-from)); err != nil {
			f.t.Fatal(err)
		}
		// Between two ends of a link nothing waits, but for the first packet for its neighbour.
		_ = to.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		buf := make([]byte, 8)
		n, _, err := to.ReadFromUDP(buf)
		if got := err == nil && string(buf[:n]) == sent; got != open {
			f.t.Errorf("%s: from member %d to the other: passes %t, want %t", when, from+1, got, open)
		}
	}
}
