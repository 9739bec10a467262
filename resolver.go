package libnetwork

import "github.com/libnetwork/libnetwork/internal/engine"

// Resolver is an embedded name server.
type Resolver interface {
	// Start makes it answer. It fails unless SetupFunc has run since the last Stop.
	Start() error
	// Stop ends it. After SetupFunc it can be started again.
	Stop()
	// SetupFunc returns a function that is to run in the container's network
	// namespace before Start.
	SetupFunc() func()
	// NameServer is the address that containers find it at.
	NameServer() string
	// SetExtServers sets the servers that it asks for what it does not know; it
	// takes the first three.
	SetExtServers([]string)
	// FlushExtServers makes it use new sockets to them.
	FlushExtServers()
	// ResolverOptions are the options that resolv.conf should have for it.
	ResolverOptions() []string
}

// NewResolver makes a name server for a sandbox.
func NewResolver(sb *sandbox) Resolver {
	if sb == nil {
		return engine.NewResolver(nil)
	}
	return engine.NewResolver(sb.s)
}
