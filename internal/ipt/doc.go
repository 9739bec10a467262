// Package ipt keeps the firewall of one data directory with the programs
// iptables-restore and ip6tables-restore, for hosts without nftables or whose
// administrator wants it so. It does the same as package nft for the same objects.
//
// All rules stand in chains of our own, whose names begin with LIBNETWORK and
// depend on the data directory. From each chain of the kernel one rule leads to
// them, put there once: in FORWARD behind the jump to DOCKER-USER where there is
// one, else first; first in INPUT, in raw's PREROUTING and in mangle's POSTROUTING; last
// in the chains of nat. An administrator may move it; Docker's own chains, which it puts to the top when
// it starts, are overtaken again by the next repair or start. No foreign policy, chain or rule is ever
// changed, and nothing is flushed but chains of our own. Into the chains by which other data
// directories accept goes a rule that asks ours before.
//
// A change is one batch for each family that it concerns. A batch is atomic for
// each of its tables, filter, nat, raw and mangle; when one fails, what was done is undone,
// so a change is made as a whole or not at all, if not at one instant. It holds
// only the rules that change. Every rule carries in its comment whose it is and a
// hash of its text, by which a listing is compared with what is wanted.
//
// What a bridge forwards between its ports does not come to iptables. Links between
// containers that may not reach each other otherwise are therefore kept in a table of
// family bridge, by package nft; without nftables in the kernel they are refused.
//
// Rules are tried one after the other, so a new connection costs more the more
// networks and ports there are, and a packet of an established one the more
// networks: that is what nftables does better.
//
// A [Firewall] is safe for concurrent use: its changes stand in a queue that
// honours their contexts. It starts no goroutine that outlives a call. It belongs
// to the network namespace in which it was opened.
package ipt
