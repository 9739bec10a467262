// Package hostport keeps account of the ports of the host that containers are
// published on: who of ours has which, and that no other program has it.
//
// [Space] is the first half. It is pure: no operating system, no clock. Every
// host address is a space of its own for each protocol, the unspecified address
// too: a port may be published on all addresses for one container and on one
// address for another, and the specific one wins, in whatever order they come.
//
// [Holder] is the second half: it asks the kernel, by taking the port with a
// socket that answers nobody, and says which program has it if that fails.
//
// Both are safe for concurrent use and start no goroutine.
package hostport
