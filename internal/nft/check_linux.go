package nft

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/model"
)

// check says what is wrong with a change.
func check(c Change) error {
	for i := range c.Networks {
		if err := checkNetwork(&c.Networks[i]); err != nil {
			return err
		}
	}
	for _, t := range c.Tracked {
		if !plain(t.Addr) {
			return fmt.Errorf("connections of %s cannot be counted", t.Addr)
		}
	}
	for _, p := range c.Ports {
		switch {
		case !knownProto(p.Proto):
			return fmt.Errorf("%s: unknown protocol %d", p.Key(), p.Proto)
		case !plain(p.Host) || !plain(p.Addr) || p.Host.Is6() != p.Addr.Is6():
			return fmt.Errorf("%s: cannot lead to %s", p.Key(), p.Addr)
		case p.First == 0 || p.Last < p.First || p.Port == 0 || int(p.Port)+int(p.Last-p.First) > 65535:
			return fmt.Errorf("%s: bad port range to %d", p.Key(), p.Port)
		}
	}
	for _, p := range c.OpenPorts {
		if !knownProto(p.Proto) || !plain(p.Addr) || p.First == 0 || p.Last < p.First {
			return fmt.Errorf("%s: bad open port", p.Key())
		}
	}
	for _, p := range c.Kept {
		if a := p.Host.Addr(); !knownProto(p.Proto) || !plain(a) || !a.Is6() || p.Host.Port() == 0 {
			return fmt.Errorf("%s: bad port", p.Key())
		}
	}
	for _, l := range c.Links {
		if !knownProto(l.Proto) || !plain(l.Client) || !plain(l.Target) || l.Client.Is6() != l.Target.Is6() || l.Port == 0 || !linkName(l.ClientHost) || !linkName(l.TargetHost) {
			return fmt.Errorf("%s: bad link", l.Key())
		}
	}
	for _, p := range c.LinkedPorts {
		if !linkName(p.Host) {
			return fmt.Errorf("%s: bad link name", p.Key())
		}
	}
	return nil
}

func checkNetwork(n *model.FirewallNetwork) error {
	if n.ID == "" || strings.ContainsFunc(n.ID, notIdentifier) {
		return fmt.Errorf("network %q: bad id", n.ID)
	}
	if !linkName(n.Bridge) {
		return fmt.Errorf("network %s: bad link name %q", short(n.ID), n.Bridge)
	}
	for _, v6 := range []bool{false, true} {
		c := part(n, v6)
		if c == nil {
			continue
		}
		if err := checkFamily(c, v6); err != nil {
			return fmt.Errorf("network %s: %w", short(n.ID), err)
		}
	}
	return nil
}

func checkFamily(c *model.FirewallFamily, v6 bool) error {
	for _, s := range c.Subnets {
		if !s.IsValid() || s.Addr().Is6() != v6 || s.Addr().Is4In6() {
			return fmt.Errorf("bad subnet %s", s)
		}
	}
	if to := c.MasqueradeTo; to.IsValid() && (!plain(to) || to.Is6() != v6 || to.IsUnspecified()) {
		return fmt.Errorf("bad source address %s", to)
	}
	for _, link := range c.Trusted {
		if !linkName(link) {
			return fmt.Errorf("bad name of a trusted link %q", link)
		}
	}
	switch {
	case c.Mode > model.ModeIsolated:
		return fmt.Errorf("unknown gateway mode %d", c.Mode)
	case c.Mode == model.ModeIsolated && !c.Internal:
		return errors.New("a network that is isolated must be internal")
	case c.TrustedMark.Value&^c.TrustedMark.Mask != 0:
		return fmt.Errorf("the mask of the trusted mark %#x/%#x does not cover it", c.TrustedMark.Value, c.TrustedMark.Mask)
	}
	return nil
}

func knownProto(p uint8) bool {
	return p == unix.IPPROTO_TCP || p == unix.IPPROTO_UDP || p == unix.IPPROTO_SCTP
}

func plain(a netip.Addr) bool { return a.IsValid() && !a.Is4In6() && a.Zone() == "" }

func linkName(s string) bool {
	return s != "" && len(s) < unix.IFNAMSIZ && !strings.ContainsAny(s, "/ \t\n\"\x00")
}

func notIdentifier(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' || r == '.')
}
