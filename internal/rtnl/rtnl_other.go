//go:build !linux

package rtnl

import (
	"context"
	"net/netip"
	"runtime"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/types"
)

// Socket is a connection to rtnetlink, which this system does not have.
type Socket struct{}

func missing() error { return types.NotImplementedErrorf("rtnetlink: not on %s", runtime.GOOS) }

// Open fails on this system.
func Open(Config) (*Socket, error) { return nil, missing() }

// Close fails on this system.
func (*Socket) Close() error { return missing() }

// Index fails on this system.
func (*Socket) Index(string) (int32, error) { return 0, missing() }

// CreateBridge fails on this system.
func (*Socket) CreateBridge(context.Context, model.Bridge) error { return missing() }

// CreateVeth fails on this system.
func (*Socket) CreateVeth(context.Context, *Socket, int, model.Veth) error { return missing() }

// ChangeLink fails on this system.
func (*Socket) ChangeLink(context.Context, string, LinkChange) error { return missing() }

// SetLinkDown fails on this system.
func (*Socket) SetLinkDown(context.Context, string) error { return missing() }

// SetLinkUp fails on this system.
func (*Socket) SetLinkUp(context.Context, string) error { return missing() }

// RaiseLoopback fails on this system.
func (*Socket) RaiseLoopback() error { return missing() }

// DetachVeth fails on this system.
func (*Socket) DetachVeth(context.Context, ...string) error { return missing() }

// DeleteLinks fails on this system.
func (*Socket) DeleteLinks(context.Context, ...string) error { return missing() }

// DeleteGroup fails on this system.
func (*Socket) DeleteGroup(context.Context, uint32) error { return missing() }

// AddAddresses fails on this system.
func (*Socket) AddAddresses(context.Context, string, ...netip.Prefix) error { return missing() }

// DeleteAddresses fails on this system.
func (*Socket) DeleteAddresses(context.Context, string, ...netip.Prefix) error { return missing() }

// AddRoute fails on this system.
func (*Socket) AddRoute(context.Context, string, model.Route) error { return missing() }

// DeleteRoute fails on this system.
func (*Socket) DeleteRoute(context.Context, string, model.Route) error { return missing() }

// ReplaceDefaultRoute fails on this system.
func (*Socket) ReplaceDefaultRoute(context.Context, model.DefaultRoute) error { return missing() }

// DeleteDefaultRoute fails on this system.
func (*Socket) DeleteDefaultRoute(context.Context, model.DefaultRoute) error { return missing() }

// Routed fails on this system.
func (*Socket) Routed(context.Context, netip.Addr) error { return missing() }

// RouteTo fails on this system.
func (*Socket) RouteTo(context.Context, netip.Addr) (string, netip.Addr, error) {
	return "", netip.Addr{}, missing()
}

// AddNeighbour fails on this system.
func (*Socket) AddNeighbour(context.Context, Neighbour) error { return missing() }

// DeleteNeighbour fails on this system.
func (*Socket) DeleteNeighbour(context.Context, Neighbour) error { return missing() }

// FlushNeighbour fails on this system.
func (*Socket) FlushNeighbour(context.Context, string, ...netip.Addr) error { return missing() }

// Links fails on this system.
func (*Socket) Links(context.Context) ([]Link, error) { return nil, missing() }

// Link fails on this system.
func (*Socket) Link(context.Context, string) (Link, error) { return Link{}, missing() }

// Addresses fails on this system.
func (*Socket) Addresses(context.Context) ([]Address, error) { return nil, missing() }

// Routes fails on this system.
func (*Socket) Routes(context.Context) ([]Route, error) { return nil, missing() }

// Stats fails on this system.
func (*Socket) Stats(context.Context, string) (*types.InterfaceStatistics, error) {
	return nil, missing()
}
