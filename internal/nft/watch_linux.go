package nft

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/nlevents"
)

// groupTables is NFNLGRP_NFTABLES of linux/netfilter/nfnetlink.h.
const groupTables = 7

// TableEvent is a change of a table of nftables.
type TableEvent struct {
	// Table is the table's name; empty: changes were missed, and any table may be
	// another one.
	Table string
	// Chain is that of a chain that was made or changed, or of a rule that has come or is
	// Gone; empty for all else.
	Chain string
	Gone  bool
	// Port is the netlink address of whoever made the change.
	Port uint32
}

// A TableWatch hears of the changes of all tables of a namespace.
type TableWatch struct {
	s    *nlevents.Socket
	each func(TableEvent)
	late *time.Timer // nil if nothing is told late
}

// emptyTime is how long who empties the chain of Docker has to remove it.
const emptyTime = 2 * time.Second

// WatchTables opens a watch in the namespace of the calling thread.
func WatchTables(each func(TableEvent)) (*TableWatch, error) {
	s, err := nlevents.Open(unix.NETLINK_NETFILTER, groupTables)
	return &TableWatch{s: s, each: each}, err
}

// Watch opens a watch that calls changed whenever somebody else has changed the
// tables, or made the chain of Docker in which we are to have a rule, or put a rule there.
// Who takes that rule away may be about to remove the chain, and is not hindered: that is told after a
// while. Our own changes are known by the socket that they came by.
func (f *Firewall) Watch(changed func()) (*TableWatch, error) {
	foreign, err := f.Foreign()
	if err != nil {
		return nil, err
	}
	late := time.AfterFunc(time.Hour, changed)
	late.Stop()
	w, err := WatchTables(func(ev TableEvent) {
		switch {
		case foreign(ev):
			changed()
		case ev.Gone && ev.Table == foreignTable && ev.Chain == foreignChain:
			late.Reset(emptyTime)
		}
	})
	w.late = late
	return w, err
}

// Foreign returns a function that says whether an event may be a change of the
// tables by somebody else.
func (f *Firewall) Foreign() (func(TableEvent) bool, error) {
	f.turn <- struct{}{}
	defer f.release()
	if f.c == nil {
		return nil, fmt.Errorf("watching firewall %s: it is closed", f.table)
	}
	port, err := f.c.port()
	if err != nil {
		return nil, fmt.Errorf("watching firewall %s: %w", f.table, err)
	}
	return func(ev TableEvent) bool {
		return ev.Table == "" || ev.Port != port && (ev.Table == f.table || ev.Table == foreignTable && ev.Chain == foreignChain && !ev.Gone)
	}, nil
}

// Run calls the watch's function for each change, until ctx ends; then the watch is
// closed.
func (w *TableWatch) Run(ctx context.Context) error {
	if w.late != nil {
		defer w.late.Stop()
	}
	return errors.Join(w.s.Read(ctx, w.message, func() { w.each(TableEvent{}) }), w.s.Close())
}

func (w *TableWatch) message(m nlevents.Message) {
	if m.Type>>8 != unix.NFNL_SUBSYS_NFTABLES || m.Type&0xff == unix.NFT_MSG_NEWGEN || len(m.Body) < genLen {
		return
	}
	// The first attribute of all these messages is the table's name.
	a := attrs(m.Body[genLen:])
	ev := TableEvent{Table: cstring(a.get(unix.NFTA_TABLE_NAME)), Port: m.Port}
	switch m.Type & 0xff {
	case unix.NFT_MSG_NEWCHAIN:
		ev.Chain = cstring(a.get(unix.NFTA_CHAIN_NAME))
	case unix.NFT_MSG_NEWRULE:
		ev.Chain = cstring(a.get(unix.NFTA_RULE_CHAIN))
	case unix.NFT_MSG_DELRULE:
		ev.Chain, ev.Gone = cstring(a.get(unix.NFTA_RULE_CHAIN)), true
	}
	if ev.Table != "" {
		w.each(ev)
	}
}

// port is the socket's netlink address.
func (c *conn) port() (uint32, error) {
	sa, err := unix.Getsockname(c.fd)
	if err != nil {
		return 0, err
	}
	nl, ok := sa.(*unix.SockaddrNetlink)
	if !ok {
		return 0, fmt.Errorf("a netlink socket has the address %T", sa)
	}
	return nl.Pid, nil
}
