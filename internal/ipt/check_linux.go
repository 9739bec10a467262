package ipt

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/types"
)

// refusal is the error of changes that are bad.
func refusal(name string, changes ...model.FirewallChange) error {
	for _, c := range changes {
		if err := check(c); err != nil {
			return types.BadRequestErrorf("firewall %s: %w", name, err)
		}
	}
	return nil
}

// check says what is wrong with a change. What passes can stand in a batch.
func check(c model.FirewallChange) error {
	for i := range c.Networks {
		if err := checkNetwork(&c.Networks[i]); err != nil {
			return err
		}
	}
	for _, p := range c.Ports {
		if err := checkPort(p.Proto, p.Owner, p.First, p.Last, p.Host, p.Addr); err != nil {
			return fmt.Errorf("%s: %w", p.Key(), err)
		}
		if int(p.Port)+int(p.Last)-int(p.First) > 65535 || p.Port == 0 {
			return fmt.Errorf("%s: bad port %d of the container", p.Key(), p.Port)
		}
		if p.Addr.IsUnspecified() {
			return fmt.Errorf("%s: bad address %s of the container", p.Key(), p.Addr)
		}
	}
	for _, p := range c.OpenPorts {
		if err := checkPort(p.Proto, p.Owner, p.First, p.Last, p.Addr); err != nil {
			return fmt.Errorf("%s: %w", p.Key(), err)
		}
	}
	for _, p := range c.Kept {
		if err := checkPort(p.Proto, p.Owner, p.Host.Port(), p.Host.Port(), p.Host.Addr()); err != nil {
			return fmt.Errorf("%s: %w", p.Key(), err)
		}
	}
	for _, l := range c.Links {
		if err := checkPort(l.Proto, l.Owner, l.Port, l.Port, l.Client, l.Target); err != nil {
			return fmt.Errorf("%s: %w", l.Key(), err)
		}
		if err := checkLink(l.Bridge); err != nil {
			return fmt.Errorf("%s: %w", l.Key(), err)
		}
	}
	for _, p := range c.LinkedPorts {
		if badID(p.Owner) {
			return fmt.Errorf("%s: bad owner %q", p.Key(), p.Owner)
		}
		if err := checkLink(p.Host); err != nil {
			return fmt.Errorf("%s: %w", p.Key(), err)
		}
	}
	return nil
}

func checkNetwork(n *model.FirewallNetwork) error {
	if badID(n.ID) {
		return fmt.Errorf("network %q: bad id", n.ID)
	}
	if err := checkLink(n.Bridge); err != nil {
		return fmt.Errorf("network %s: %w", n.ID, err)
	}
	for _, v6 := range []bool{false, true} {
		c := part(n, v6)
		if c == nil {
			continue
		}
		for _, s := range c.Subnets {
			if !s.IsValid() || badAddr(s.Addr()) || s.Addr().Is6() != v6 {
				return fmt.Errorf("network %s: bad subnet %s", n.ID, s)
			}
		}
		if a := c.MasqueradeTo; a.IsValid() && (badAddr(a) || a.Is6() != v6) {
			return fmt.Errorf("network %s: bad source address %s", n.ID, a)
		}
		for _, l := range c.Trusted {
			if err := checkLink(l); err != nil {
				return fmt.Errorf("network %s: %w", n.ID, err)
			}
		}
	}
	return nil
}

func checkLink(name string) error {
	if err := model.CheckLinkName(name); err != nil {
		return fmt.Errorf("bad link name %q: %w", name, err)
	}
	return nil
}

func checkPort(proto uint8, owner string, first, last uint16, addrs ...netip.Addr) error {
	if protocolName(proto) == "" {
		return fmt.Errorf("protocol %d has no ports here", proto)
	}
	if badID(owner) {
		return fmt.Errorf("bad owner %q", owner)
	}
	if first == 0 || last < first {
		return fmt.Errorf("bad ports %d-%d", first, last)
	}
	if slices.ContainsFunc(addrs, badAddr) || addrs[0].Is6() != addrs[len(addrs)-1].Is6() {
		return fmt.Errorf("bad addresses %s", addrs)
	}
	return nil
}

func badAddr(a netip.Addr) bool { return !a.IsValid() || a.Is4In6() || a.Zone() != "" }

// maxID keeps comments below the 255 bytes that they can have.
const maxID = 200

func badID(id string) bool {
	return id == "" || len(id) > maxID || strings.ContainsFunc(id, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' || r == '.')
	})
}
