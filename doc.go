// Package libnetwork connects containers: it makes network namespaces, gives
// them interfaces and addresses on networks, publishes their ports on the host
// and answers for their names.
//
// A controller manages networks, each of a driver such as bridge. A network has
// endpoints: an interface, a MAC address, IP addresses. A sandbox is a
// container's network namespace with its hosts and resolv.conf files and its name
// server. An endpoint joins a sandbox, and leaves it again.
//
//	controller, err := libnetwork.New(config.OptionDataDir("/var/lib/runner"))
//	network, err := controller.NewNetwork("bridge", "web")
//	ep, err := network.CreateEndpoint("api")
//	sbx, err := controller.NewSandbox("container1", libnetwork.OptionHostname("api"))
//	err = ep.Join(sbx)
//
// Every value of this package may be used by many goroutines at once. Two values
// that stand for the same network, endpoint or sandbox are equal by ==.
// Controllers of one process on one data directory see the same objects; a
// directory that another process uses is refused.
//
// Errors carry a class, one of the marker interfaces of package types, which a
// type assertion and errors.As both find. An operation that fails has changed
// nothing.
//
// The controller is an EventSource, which tells of every change. The guide
// docs/embedding.md goes through a whole container runner.
//
// State survives the end of the process, at any moment: networks come back with
// the next controller on the same directory. Sandboxes do not, since the
// containers of a library's user end with it; those of an earlier process are
// removed by New.
package libnetwork
