package api

import "net/netip"

// Pool is a pool of addresses and how full it is. Numbers are decimal text, since
// those of IPv6 are larger than what JSON's readers keep exact: up to 2^128.
type Pool struct {
	ID string `json:"id"`
	// Manager is the name of the address manager.
	Manager string `json:"manager"`
	// Space is the address space, in which pools do not overlap.
	Space  string `json:"space"`
	Subnet string `json:"subnet"`
	// IPRange is the part of the subnet that this pool is; empty for all of it. The
	// numbers are those of the part then.
	IPRange string `json:"ip_range,omitempty"`
	// Networks are the names of the networks that use it.
	Networks []string `json:"networks"`
	// Size is all addresses: Allocated, Free and Reserved together. Reserved ones
	// are never given.
	Size      string `json:"size"`
	Allocated string `json:"allocated"`
	Free      string `json:"free"`
	Reserved  string `json:"reserved"`
	// Held are those of Free that wait for the end of their reuse delay.
	Held string `json:"held"`
}

// Audit tells where the address managers and the records disagree.
type Audit struct {
	// Pools and Addresses are how many were compared.
	Pools     int       `json:"pools"`
	Addresses int       `json:"addresses"`
	Findings  []Finding `json:"findings"`
}

// Finding is an address, or a pool as a whole, with which something is wrong.
type Finding struct {
	// Problem is "unowned" for what is allocated and belongs to nothing,
	// "unallocated" for what belongs to something and may be given to somebody else,
	// and "duplicate" for an address that belongs to several.
	Problem string `json:"problem"`
	Manager string `json:"manager"`
	Pool    string `json:"pool"`
	// Address is left out if the pool itself is meant.
	Address netip.Addr `json:"address,omitzero"`
	// Owners say what it belongs to.
	Owners []string `json:"owners"`
}
