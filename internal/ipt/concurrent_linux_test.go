package ipt_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/libnetwork/libnetwork/internal/fwtest"
	"github.com/libnetwork/libnetwork/internal/ipt"
	"github.com/libnetwork/libnetwork/internal/model"
)

func TestApplyConcurrently(t *testing.T) {
	onEach(t, func(t *testing.T, v ipt.Variant) {
		f := open(t, ipt.Config{Variant: v})
		base := model.FirewallChange{Networks: []model.FirewallNetwork{fwtest.Network(1)}}
		apply(t, f, base, model.FirewallChange{})
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				n := model.FirewallChange{
					Networks: []model.FirewallNetwork{fwtest.Network(10 + i)},
					Ports:    fwtest.Both("0.0.0.0", uint16(100+i), uint16(100+i), fmt.Sprintf("172.20.%d.2", 10+i), 80),
				}
				for range 3 {
					if err := f.Apply(t.Context(), n, model.FirewallChange{}); err != nil {
						t.Error(err)
					}
					if err := f.Apply(t.Context(), model.FirewallChange{}, n); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		reconcile(t, f, base, model.FirewallGuard{}, false)
	})
}
