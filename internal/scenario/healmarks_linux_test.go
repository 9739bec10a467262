package scenario_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/internal/engine"
	assemble "github.com/libnetwork/libnetwork/internal/host"
	"github.com/libnetwork/libnetwork/internal/model"
)

// TestHealMarks has somebody else change that by which links are known as ours, and turn
// IPv6 on for the links of a network that has no rules about it.
func TestHealMarks(t *testing.T) {
	h := bareHost(t)
	h.sysctl("ipv4/ip_forward", "1")
	h.sysctl("ipv6/conf/all/forwarding", "1")
	e := h.engine(assemble.Options{})
	n, err := e.CreateNetwork(t.Context(), engine.NetworkRequest{
		Driver: "bridge", Name: "vault", Internal: true, IPAM: model.IPAM{Conf4: []model.IPAMConf{{Pool: "10.99.1.0/24"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s, _ := h.wide(e, n, "c1", []uint16{port})
	bridge, veth := n.Record().Bridge.Link, s.View().Attached[0].Endpoint.Attached.Host
	state := func() string {
		return h.sh("sh", "-c", strings.NewReplacer("BR", bridge, "VETH", veth).Replace(`
for l in BR VETH; do
	ip -o link show $l | grep -o "master [^ ]*\|group [^ ]*\|[<,]UP,"
	cat /proc/sys/net/ipv6/conf/$l/disable_ipv6 /proc/sys/net/ipv4/conf/$l/rp_filter
done
ip -o -6 addr show dev BR; ip -o -4 addr show dev BR | cut -d\  -f1-8`))
	}
	before := state()
	whole := func(when string) {
		t.Helper()
		eventually(t, "put right after "+when, func() bool { return state() == before })
		if diff := cmp.Diff(before, state()); diff != "" {
			t.Fatalf("after %s (-want +got):\n%s", when, diff)
		}
		if _, err := ask(h.own, "tcp", at("10.99.1.2", port), patience); err != nil {
			t.Errorf("the host does not reach the container after %s: %v", when, err)
		}
	}
	whole("nothing")
	commands := []string{
		"ip link set " + veth + " group 0",
		"ip link set " + veth + " group 0; ip link set " + veth + " down",
		"ip link set " + bridge + " group 0",
		"sysctl -qw net.ipv6.conf.all.disable_ipv6=0",
		"ip link set " + bridge + " group 0; ip link set " + veth + " nomaster group 0",
	}
	for _, command := range commands {
		begun := time.Now()
		h.sh("sh", "-c", command)
		whole(command)
		if took := time.Since(begun); took > 3*time.Second {
			t.Errorf("%s: put right after %v", command, took)
		}
	}
	for _, command := range commands {
		told := e.Repairs()["link"]
		e.close()
		h.sh("sh", "-c", command)
		e.open()
		whole(command + ", while nobody was there")
		if told == 0 || e.Repairs()["link"] == 0 {
			t.Errorf("after %s: %d repairs while it ran, %d at the start", command, told, e.Repairs()["link"])
		}
		h.sh("ip", "link", "set", veth, "down") // so that each counts one while it runs
		whole("the start")
	}
	// Who swaps the names of two links does not get a container into another network.
	other, err := e.CreateNetwork(t.Context(), engine.NetworkRequest{
		Driver: "bridge", Name: "web", IPAM: model.IPAM{Conf4: []model.IPAMConf{{Pool: "10.99.2.0/24"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s2, _ := h.wide(e, other, "c2", nil)
	veth2 := s2.View().Attached[0].Endpoint.Attached.Host
	masters := func() string {
		return h.sh("sh", "-c", "ip -o link show type veth | grep -o 'master [^ ]*\\|alias .*' | sort")
	}
	place := masters()
	// By one program, so that it is done before anybody has heard of its beginning.
	swap := strings.NewReplacer("VETH2", veth2, "VETH", veth).Replace(
		`printf 'link set VETH name swap0\nlink set VETH2 name VETH\nlink set swap0 name VETH2\n' | ip -batch -`)
	h.sh("sh", "-c", swap)
	<-time.After(soon)
	if diff := cmp.Diff(place, masters()); diff != "" {
		t.Errorf("links are elsewhere after their names were swapped (-before +after):\n%s", diff)
	}
	h.sh("sh", "-c", swap)
	whole("names were swapped, and back")
}
