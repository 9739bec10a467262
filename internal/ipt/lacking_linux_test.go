package ipt_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork/internal/fwtest"
	"github.com/libnetwork/libnetwork/internal/ipt"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nft"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/types"
)

// legacyRules are our rules, without the programs of nftables.
func legacyRules(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, program := range []string{"iptables-legacy-save", "ip6tables-legacy-save"} {
		for line := range strings.Lines(nstest.Command(t, program)) {
			if strings.Contains(line, "LIBNETWORK") {
				b.WriteString(line)
			}
		}
	}
	return b.String()
}

// On a kernel without nftables the legacy variant is found, all but links works, and
// these are refused in words.
func TestKernelWithoutNFTables(t *testing.T) {
	nstest.Require(t, nstest.IPTablesLegacy)
	nstest.WithoutNFTables(t, func() {
		for name, open := range map[string]func() error{
			"nftables":     func() error { _, err := nft.Open(t.Context(), nft.Config{}); return err },
			"iptables-nft": func() error { _, err := ipt.Open(t.Context(), ipt.Config{Variant: ipt.NFT}); return err },
		} {
			if err := open(); !errors.As(err, new(types.NotImplementedError)) || !strings.Contains(err.Error(), "the kernel has no nftables") ||
				!strings.Contains(err.Error(), "choose the firewall backend iptables") {
				t.Errorf("%s: %v, want an error of class NotImplemented that says what to choose", name, err)
			}
		}
		f := open(t, ipt.Config{})
		if f.Variant() != ipt.Legacy {
			t.Fatalf("the variant is %s, want %s", f.Variant(), ipt.Legacy)
		}
		want := fwtest.Some()
		err := f.Apply(t.Context(), want, model.FirewallChange{})
		if !errors.As(err, new(types.NotImplementedError)) {
			t.Errorf("links: %v, want an error of class NotImplemented", err)
		}
		for _, word := range []string{"links", "nftables", "publish"} {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%q does not say %q", err, word)
			}
		}
		if rules := legacyRules(t); rules != "" {
			t.Errorf("the refusal has left:\n%s", rules)
		}
		links := want
		want.LinkedPorts = nil
		apply(t, f, want, model.FirewallChange{})
		reconcile(t, f, want, model.FirewallGuard{}, false)
		before := legacyRules(t)
		nstest.Command(t, "iptables-legacy", "-F", "FORWARD")
		// What can be made is made, whatever cannot.
		if _, err := f.Reconcile(t.Context(), links, model.FirewallGuard{}); !errors.As(err, new(types.NotImplementedError)) {
			t.Errorf("links: %v, want an error of class NotImplemented", err)
		}
		if got := legacyRules(t); got != before {
			t.Errorf("the rules are not as before:\n%s\nwant\n%s", got, before)
		}
		ctx, cancel := context.WithCancel(t.Context())
		w, err := f.Watch(cancel)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Run(ctx); err != nil {
			t.Error(err)
		}
		apply(t, f, model.FirewallChange{}, want)
		if rules := legacyRules(t); rules != "" {
			t.Errorf("left behind:\n%s", rules)
		}
	})
}
