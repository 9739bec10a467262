package server_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/internal/api"
	"github.com/libnetwork/libnetwork/internal/model"
)

func TestExposed(t *testing.T) {
	d := newDaemon(t)
	if _, text := d.do("GET", "/v2/exposed", nil); text != "[]\n" {
		t.Errorf("of an empty daemon it is %q", text)
	}
	n := ok[api.Network](d, "POST", "/v2/networks", api.NetworkCreate{Name: "web", Subnets: []api.Subnet{{Subnet: "10.8.0.0/24"}}})
	ok[api.Container](d, "POST", "/v2/containers", api.ContainerCreate{
		ID: "c1", Networks: []api.Attachment{{Network: "web"}},
		Publish: []api.Publish{{HostIP: "127.0.0.1", HostPort: 8080, Port: 80}},
	})
	d.k.AddForeignDNAT(model.ForeignDNAT{
		Port: model.Port{Proto: 6, Host: netip.MustParseAddr("127.0.0.1"), First: 8080, Last: 8080}, Rule: "table ip nat, chain DOCKER",
	})
	_, text := d.do("GET", "/v2/exposed", nil)
	want := `[` +
		`{"container":"c1","network":"web","from":"neighbour","protocol":"all","address":"10.8.0.2","port":1,"port_end":65535,` +
		`"ip":"10.8.0.2","container_port":1,"container_port_end":65535,"through":"kernel","why":"containers of web reach each other",` +
		`"rules":[{"show":"nft list set ip libnetwork icc","text":"\"` + n.Bridge + `\""}],"warnings":[]},` +
		`{"container":"c1","network":"web","from":"host","protocol":"all","address":"10.8.0.2","port":1,"port_end":65535,` +
		`"ip":"10.8.0.2","container_port":1,"container_port_end":65535,"through":"kernel","why":"the host reaches its containers","rules":[],"warnings":[]},` +
		`{"container":"c1","network":"web","from":"host","protocol":"tcp","address":"127.0.0.1","port":8080,"port_end":8080,` +
		`"ip":"10.8.0.2","container_port":80,"container_port_end":80,"through":"kernel","why":"published",` +
		`"rules":[{"show":"nft list map ip libnetwork port_addr","text":"127.0.0.1 . tcp . 8080"}],"warnings":["foreign rule: table ip nat, chain DOCKER"]}` +
		"]\n"
	if diff := cmp.Diff(want, text); diff != "" {
		t.Errorf("exposed (-want +got):\n%s", diff)
	}
}
