// Package scenario holds no code but tests: the library as its users see it, by
// its published API, on the real kernel, with containers that serve and machines
// that come from outside.
//
// Its tests run one after the other in network and mount namespaces of their
// own. Each has a data directory of its own, and fails if the machine is not
// afterwards as it was before: rules, links, addresses, routes, settings, mounts.
package scenario
