package nft

import (
	"slices"
	"testing"

	"github.com/libnetwork/libnetwork/internal/fwtest"
)

// TestNetworkSets wants every set that a network can be in to be read when the state is
// loaded: what is not read would not be deleted.
func TestNetworkSets(t *testing.T) {
	unused := slices.Clone(networkSets)
	for _, s := range fwtest.Settings() {
		n := fwtest.Network(1, s.Apply)
		for _, e := range slices.Concat(networkElems(&n, n.V4), networkElems(&n, n.V6)) {
			if !slices.Contains(networkSets, e.set) {
				t.Fatalf("with %+v there is an element in %s, which is not read", s, e.set)
			}
			unused = slices.DeleteFunc(unused, func(set string) bool { return set == e.set })
		}
	}
	if len(unused) > 0 {
		t.Errorf("no network is in %v", unused)
	}
}
