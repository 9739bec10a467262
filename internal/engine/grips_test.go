package engine

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/libnetwork/libnetwork/internal/hostport"
	"github.com/libnetwork/libnetwork/internal/model"
)

// socket is a port that is held.
type socket struct{ int }

func (*socket) Close() error      { return nil }
func (*socket) How() hostport.How { return hostport.Held }

func TestPack(t *testing.T) {
	v4, v6 := netip.IPv4Unspecified(), netip.IPv6Unspecified()
	wishes := []model.Publish{
		{Proto: 6, First: 80, Last: 80, Port: 80, PortLast: 80},
		{Proto: 17, First: 1000, Last: 1999, Port: 1000, PortLast: 1999},
		{Proto: 6, Port: 90, PortLast: 90},
		{Proto: 6, Port: 91, PortLast: 91},
		{Proto: 132, First: 7, Last: 7, Port: 7, PortLast: 7},
	}
	grips := []grip{
		{wish: wishes[0], proto: 6, first: 80, last: 80, hosts: holds{{v4, &socket{1}}, {v6, &socket{2}}}},
		{wish: wishes[1], proto: 17, first: 1000, last: 1999, hosts: holds{{v4, noted(hostport.Checked)}}},
		{wish: wishes[2], proto: 6, first: 40000, last: 40000}, // of no host any more
		{wish: wishes[3], proto: 6},
		{wish: wishes[4], proto: 132, first: 7, last: 7, hosts: holds{{v6, noted(hostport.RuleOnly)}, {v4, nil}}},
	}
	got := pack(wishes, grips).grips()
	if diff := cmp.Diff(grips, got, cmp.AllowUnexported(grip{}, held{}), cmpopts.EquateComparable(netip.Addr{}, &socket{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := pack(nil, nil).grips(); got != nil {
		t.Errorf("of nothing comes %v", got)
	}
}
