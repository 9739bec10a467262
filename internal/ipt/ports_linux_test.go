package ipt_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/internal/fwtest"
	"github.com/libnetwork/libnetwork/internal/ipt"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nstest"
)

func TestManyPorts(t *testing.T) {
	t.Run("case 39 a range of 5000 ports is one rule a protocol, and ports come and go beside 2000 others", func(t *testing.T) {
		onEach(t, testManyPorts)
	})
}

func testManyPorts(t *testing.T, v ipt.Variant) {
	f := open(t, ipt.Config{Variant: v})
	none := model.FirewallChange{}
	apply(t, f, model.FirewallChange{Networks: []model.FirewallNetwork{fwtest.Network(1)}}, none)
	before := ours(t, v)
	wide := model.FirewallChange{Ports: fwtest.Both("0.0.0.0", 10000, 14999, "172.20.1.2", 10000)}
	apply(t, f, wide, none)
	if got := strings.Count(ours(t, v), "\n") - strings.Count(before, "\n"); got != len(wide.Ports) {
		t.Errorf("%d rules more, want %d", got, len(wide.Ports))
	}
	apply(t, f, none, wide)
	shifted := model.FirewallChange{Ports: fwtest.Both("0.0.0.0", 20000, 20999, "172.20.1.2", 80)}
	more := model.FirewallChange{Ports: fwtest.Both("0.0.0.0", 1, 1, "172.20.1.2", 80)}
	apply(t, f, shifted, none)
	apply(t, f, more, none)
	apply(t, f, none, more)
	beside := ours(t, v)
	many := model.FirewallChange{Ports: fwtest.Both("0.0.0.0", 30000, 30199, "172.20.1.3", 80)}
	apply(t, f, many, none)
	begin := time.Now()
	apply(t, f, none, many)
	t.Logf("%d ports go from beside %d in %v", 4*200, 4*1000, time.Since(begin))
	if diff := cmp.Diff(sorted(beside), sorted(ours(t, v))); diff != "" {
		t.Errorf("beside others (-before +after):\n%s", diff)
	}
	if found, err := f.Reconcile(t.Context(), model.FirewallChange{
		Networks: []model.FirewallNetwork{fwtest.Network(1)}, Ports: shifted.Ports,
	}, model.FirewallGuard{}); err != nil || found != model.FoundRight {
		t.Errorf("the rules were not as wanted: %v, %v", found, err)
	}
	apply(t, f, none, shifted)
	if diff := cmp.Diff(sorted(before), sorted(ours(t, v))); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
}

func BenchmarkPort(b *testing.B) {
	for _, others := range []int{0, 1000, 10000} {
		for v, feature := range variants() {
			b.Run(fmt.Sprintf("others=%d/%s", others, v), func(b *testing.B) {
				nstest.Require(b, feature)
				nstest.Run(b, func() {
					f := open(b, ipt.Config{Variant: v})
					apply(b, f, model.FirewallChange{Networks: []model.FirewallNetwork{fwtest.Network(1)}}, model.FirewallChange{})
					if others > 0 {
						apply(b, f, model.FirewallChange{Ports: fwtest.Both("0.0.0.0", 20000, 20000+uint16(others)/2-1, "172.20.1.2", 80)}, model.FirewallChange{})
					}
					p := fwtest.Both("0.0.0.0", 1, 1, "172.20.1.2", 80)[:1]
					b.ReportAllocs()
					for b.Loop() {
						apply(b, f, model.FirewallChange{Ports: p}, model.FirewallChange{})
						apply(b, f, model.FirewallChange{}, model.FirewallChange{Ports: p})
					}
				})
			})
		}
	}
}
