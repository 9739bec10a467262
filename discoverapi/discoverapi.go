// Package discoverapi is the contract by which drivers learn of other nodes and of
// a store that was configured after they were made.
//
// It is a leaf of interfaces and plain values. The core calls a driver's Discover
// methods from any goroutine, also while other methods of the driver run.
package discoverapi

// Discover is what a driver implements to be notified. It ignores the types it does
// not know, and returns nil for them.
type Discover interface {
	// DiscoverNew tells of something new.
	DiscoverNew(dType DiscoveryType, data interface{}) error

	// DiscoverDelete tells of something gone.
	DiscoverDelete(dType DiscoveryType, data interface{}) error
}

// DiscoveryType says what a notification is about, and so of what type its data is.
type DiscoveryType int

const (
	// NodeDiscovery is about a node that joined or left; the data is a
	// NodeDiscoveryData.
	NodeDiscovery = iota + 1
	// DatastoreConfig is about a store that was configured; the data is a
	// DatastoreConfigData.
	DatastoreConfig
)

// NodeDiscoveryData is the data of a NodeDiscovery.
type NodeDiscoveryData struct {
	// Address is the IP address of the node.
	Address string
	// Self is true for the node that the receiver runs on.
	Self bool
}

// DatastoreConfigData is the data of a DatastoreConfig.
type DatastoreConfigData struct {
	// Scope is the scope of the store, such as global.
	Scope string
	// Provider is the kind of store, such as etcd.
	Provider string
	// Address is where the store is reached, in the form of its provider.
	Address string
	// Config is the *config.StoreConfig of the store, or nil.
	Config interface{}
}
