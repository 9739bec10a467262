package api

import "net/netip"

// Exposed is one way to ports of a container.
type Exposed struct {
	Container string `json:"container"`
	// Network is the one by which packets come to the container.
	Network string `json:"network"`
	// From is who has this way: "internet" for other machines that dial an address of
	// the host, "lan" for those with a route to the container's own address, "network"
	// for containers on other networks, "neighbour" for those on the same one, "host".
	From string `json:"from"`
	// Only names those of them who have it: links of the host or marks of packets,
	// networks, containers. Left out for all.
	Only []string `json:"only,omitempty"`
	// InternalToo says of "network" that containers on internal networks have it too.
	InternalToo bool `json:"internal_too,omitempty"`
	// Protocol is tcp, udp, sctp, or "all".
	Protocol string `json:"protocol"`
	// Address, and Port to PortEnd, are what is dialled. 0.0.0.0 and :: stand for all
	// addresses of the host of that family: 127.0.0.0/8 only from the host, ::1 never,
	// which has an entry of its own.
	Address netip.Addr `json:"address"`
	Port    uint16     `json:"port"`
	PortEnd uint16     `json:"port_end"`
	// Except lead elsewhere.
	Except []netip.AddrPort `json:"except,omitempty"`
	// SourcePort is the port that the client must use, 0 for any.
	SourcePort uint16 `json:"source_port,omitempty"`
	// IP, and ContainerPort to ContainerPortEnd, are where that leads.
	IP               netip.Addr `json:"ip"`
	ContainerPort    uint16     `json:"container_port"`
	ContainerPortEnd uint16     `json:"container_port_end"`
	// Through is "kernel", or "forwarder" where a process carries the data.
	Through string `json:"through"`
	// Why says in words what opens the way.
	Why string `json:"why"`
	// Rules are those of the firewall that a packet needs, in their order; none where
	// no rule closes the way.
	Rules    []ExposedRule `json:"rules"`
	Warnings []string      `json:"warnings"`
}

// ExposedRule is a rule of the firewall, or an element of a set.
type ExposedRule struct {
	// Show is the command that prints where it is, Text what to look for there.
	Show string `json:"show"`
	Text string `json:"text"`
}
