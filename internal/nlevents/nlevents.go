// Package nlevents reads what the kernel tells by netlink multicast.
//
// A Socket hears of the network namespace in which it was opened. It is used by
// one goroutine at a time. The package is a leaf: what messages mean is the
// business of those who ask.
package nlevents

// Message is one message of the kernel. Its body is valid during the call that it
// is handed to.
type Message struct {
	// Type is nlmsg_type.
	Type uint16
	// Port is nlmsg_pid: where the kernel says so, the netlink address of the socket
	// whose request caused the message.
	Port uint32
	Body []byte
}
