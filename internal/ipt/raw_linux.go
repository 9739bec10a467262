package ipt

import "github.com/libnetwork/libnetwork/internal/model"

// raw returns the entries of a network that come before connections are tracked.
func (f *family) raw(id, in string, c *model.FirewallFamily) []entry {
	list := []entry{f.rule(chainRaw, id, in, drop), f.rule(chainToAll, id, in, "-j CT --notrack")}
	if !c.Internal {
		return list
	}
	if f.v6 {
		// The host would send its answer to :: by the default route.
		list = append(list, f.rule(chainSource, id, in, "-s ::/128 -p ipv6-icmp -m icmp6 --icmpv6-type 128", drop))
	}
	for _, p := range c.Subnets {
		list = append(list, f.rule(chainSource, id, in, "-s "+p.String(), "-j RETURN"))
	}
	for _, source := range f.unrouted() {
		list = append(list, f.rule(chainSource, id, in, source, "-j RETURN"))
	}
	return append(list, f.rule(chainSource, id, in, drop))
}
