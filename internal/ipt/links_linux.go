package ipt

import (
	"context"
	"fmt"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nft"
	"github.com/libnetwork/libnetwork/types"
)

// Frames that a bridge forwards do not come to iptables, unless somebody has
// switched br_netfilter on for the whole host. What passes between linked containers
// is therefore decided by a table of family bridge that package nft makes; any kernel
// with nftables has it, whichever variant of iptables is used.

// linksTable is the name of that table. It is not that of the backend nftables, nor
// the same for both variants, so that each can go after the next one stands.
func linksTable(name string, v Variant) string { return name + "-iptables-" + string(v) }

// openLinks opens it in the namespace of the calling thread, unless the kernel has
// no nftables for frames.
func (f *Firewall) openLinks(ctx context.Context) (err error) {
	if f.noNFTables = nft.ProbeBridge(); f.noNFTables != nil {
		return nil
	}
	f.links, err = nft.Open(ctx, nft.Config{
		Table: linksTable(f.cfg.Name, f.variant), NoOwner: f.cfg.NoOwner, Steps: f.cfg.Steps, Logger: f.log,
	})
	return err
}

// linked picks what is in the table of family bridge. Links are in the tables of
// iptables as well, for hosts where br_netfilter is on.
func linked(c model.FirewallChange) model.FirewallChange {
	return model.FirewallChange{Links: c.Links, LinkedPorts: c.LinkedPorts}
}

// checkLinks refuses linked ports where nothing can hold the rules for them.
func (f *Firewall) checkLinks(changes ...model.FirewallChange) error {
	for _, c := range changes {
		if len(c.LinkedPorts) > 0 && f.links == nil {
			return types.NotImplementedErrorf(
				"firewall %s: links between containers of a network without inter-container communication need nftables for bridges in the kernel: %w; "+
					"allow that communication on the network, or publish the ports and connect to them at an address of the host", f.cfg.Name, f.noNFTables)
		}
	}
	return nil
}

// applyLinks makes the part of a change that is in the table of family bridge.
func (f *Firewall) applyLinks(ctx context.Context, add, del model.FirewallChange) error {
	add, del = linked(add), linked(del)
	if f.links == nil || len(add.Links)+len(add.LinkedPorts)+len(del.Links)+len(del.LinkedPorts) == 0 {
		return nil
	}
	if err := f.links.Apply(ctx, add, del); err != nil {
		return fmt.Errorf("rules of links: %w", err)
	}
	return nil
}

// reconcileLinks makes the table of family bridge hold what is wanted, and returns what it was.
func (f *Firewall) reconcileLinks(ctx context.Context, want model.FirewallChange) (found model.Finding, err error) {
	if f.links == nil {
		return found, nil
	}
	found, err = f.links.Reconcile(ctx, linked(want), model.FirewallGuard{})
	if err != nil {
		return found, fmt.Errorf("rules of links: %w", err)
	}
	return found, nil
}

// listLinks is the text of the table of family bridge.
func (f *Firewall) listLinks(ctx context.Context) (string, error) {
	if f.links == nil {
		return "", nil
	}
	return f.links.List(ctx)
}

func (f *Firewall) closeLinks() error {
	if f.links == nil {
		return nil
	}
	return f.links.Close()
}
