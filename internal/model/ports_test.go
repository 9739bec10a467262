package model_test

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/libnetwork/libnetwork/internal/model"
)

func TestPorts(t *testing.T) {
	list := []model.Port{
		{Proto: 6, Host: netip.IPv4Unspecified(), First: 80, Last: 80, Addr: netip.MustParseAddr("10.2.0.2"), Port: 8080, Owner: "sb"},
		{Proto: 17, Host: netip.IPv6Unspecified(), First: 1, Last: 65535, Addr: netip.MustParseAddr("fd00::2"), Port: 1, Owner: "sb", Proxy: true},
		{Proto: 132, Host: netip.MustParseAddr("fe80::1%eth0"), First: 9, Last: 9, Addr: netip.MustParseAddr("10.2.0.2"), Port: 9, Owner: "sb"},
		{Proto: 6, Host: netip.IPv4Unspecified(), First: 81, Last: 81, Addr: netip.MustParseAddr("10.2.0.2"), Port: 81, Owner: "sb", Proxy: true, NoRule: true},
		{Owner: "sb"},
	}
	ports := model.PortsOf(list...)
	diff := func(t *testing.T, want []model.Port, got model.Ports) {
		t.Helper()
		if d := cmp.Diff(want, slices.Collect(got.All()), cmpopts.EquateComparable(netip.Addr{})); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
		for i, p := range want {
			if got.At(i) != p {
				t.Errorf("at %d: %+v, want %+v", i, got.At(i), p)
			}
		}
	}
	t.Run("all come back as they were", func(t *testing.T) { diff(t, list, ports) })
	t.Run("JSON is that of the list", func(t *testing.T) {
		want, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		got, err := json.Marshal(ports)
		if err != nil || string(got) != string(want) {
			t.Errorf("got %s, %v, want %s", got, err, want)
		}
		var back model.Ports
		if err := json.Unmarshal(want, &back); err != nil {
			t.Fatal(err)
		}
		diff(t, list, back)
		if !back.Equal(ports) {
			t.Error("what comes back is not equal")
		}
	})
	t.Run("some are left out", func(t *testing.T) {
		left := ports.Without(func(p model.Port) bool { return p.Proto == 17 })
		diff(t, append(slices.Clone(list[:1]), list[2:]...), left)
		diff(t, list, ports)
		if left.Equal(ports) {
			t.Error("they are equal all the same")
		}
	})
	t.Run("ports of two owners are none of ours", func(t *testing.T) {
		var p model.Ports
		err := json.Unmarshal([]byte(`[{"Owner":"a"},{"Owner":"b"}]`), &p)
		if err == nil || !strings.Contains(err.Error(), `"a" and "b"`) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a record without ports says nothing of them", func(t *testing.T) {
		text := string(model.Encode(&model.Sandbox{ID: "sb"}))
		if strings.Contains(text, "published") {
			t.Error(text)
		}
	})
}

func TestForeignDNAT(t *testing.T) {
	at := func(host string, first, last uint16) model.Port {
		return model.Port{Proto: 6, Host: netip.MustParseAddr(host), First: first, Last: last}
	}
	for _, tt := range []struct {
		port        model.Port
		ports       [][2]uint16
		first, last uint16
		want        string
	}{
		{at("0.0.0.0", 80, 80), [][2]uint16{{80, 80}}, 80, 80, "tcp port 0.0.0.0:80"},
		{at("0.0.0.0", 80, 80), [][2]uint16{{1, 65535}}, 1, 65535, "tcp port 0.0.0.0:80"},
		{at("::", 9100, 9110), [][2]uint16{{9105, 9105}}, 9105, 9105, "tcp port [::]:9105"},
		{at("::", 9100, 9110), [][2]uint16{{9000, 9102}}, 9000, 9102, "tcp ports [::]:9100-9102"},
		{at("127.0.0.1", 9100, 9110), [][2]uint16{{9200, 9201}, {22, 22}, {9109, 9300}}, 22, 9300, "tcp ports 127.0.0.1:9109-9110"},
	} {
		f := model.ForeignDNAT{Port: tt.port, Rule: "table ip nat, chain DOCKER", Ports: tt.ports}
		if got := f.String(); got != tt.want+" is translated by a rule of table ip nat, chain DOCKER, too" {
			t.Errorf("%s: got %q", tt.want, got)
		}
		if first, last := f.Bounds(); first != tt.first || last != tt.last {
			t.Errorf("%v are from %d to %d, want %d to %d", tt.ports, first, last, tt.first, tt.last)
		}
	}
}
