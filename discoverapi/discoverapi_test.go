package discoverapi

import "testing"

func TestTypes(t *testing.T) {
	// The numbers go over the wire, and the constants serve as int and as
	// DiscoveryType.
	var (
		node  DiscoveryType = NodeDiscovery
		store int           = DatastoreConfig
	)
	if node != 1 || store != 2 {
		t.Errorf("NodeDiscovery = %d, DatastoreConfig = %d, want 1 and 2", node, store)
	}
}
