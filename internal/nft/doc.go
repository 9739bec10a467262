// Package nft keeps the firewall of one data directory in the kernel: a table
// of its own for IPv4 and one for IPv6 that isolate networks, masquerade what
// leaves them and lead published ports to containers; and the redirect of the
// embedded DNS server inside a sandbox's namespace.
//
// Every change is one kernel transaction for both families: all or nothing. It
// holds only what changes, so it costs the same whatever exists: rules and chains
// are the same for all networks, and networks and ports are elements of sets and
// maps. A rule or a chain of a network's own would have the kernel check every chain
// of the table in each transaction; only a trusted mark has one, since no set holds
// masks. Single ports live in hash maps; ranges that keep their numbers live in one
// plain interval map per protocol; ranges that shift their numbers, are bound
// to one host address, or are of a protocol other than TCP and UDP are one hash
// element a port. Deleting from a concatenated interval set takes time in proportion
// to its size, so there is one alone, of the sources of internal networks.
//
// Where the kernel has the table flags owner and persist (Linux 6.9), tables
// carry them: nobody else can change them, and they outlive this process and
// are adopted by the next one.
//
// The accept of one table is not final: a later chain of somebody else may
// still drop the packet. What the forward chain accepts therefore carries the
// bit [MarkBit] in its mark until postrouting, and [Firewall.EnsureForeignAccept] puts a rule that
// accepts this mark into the one foreign chain that is made for such rules.
// Nothing else foreign is ever changed; [Firewall.ForeignDNAT] reads rules that may
// be in the way of published ports.
//
// The first packet of each connection of a tracked address is counted, by an
// element with a counter in a nat chain of its own, so that [Firewall.Untrack] can
// say whether the kernel may remember any. What goes through ports of a container
// costs nothing more for it, but for the first packet.
//
// A [Firewall] is safe for concurrent use: its transactions stand in a queue
// that honours their contexts, and one netlink socket carries them all. It
// starts no goroutine. It belongs to the network namespace in which it was
// opened.
package nft
