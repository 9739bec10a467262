package ipt

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
)

// ForwardChain is the name of the chain that all of the firewall of that name
// hangs by.
func ForwardChain(name string) string { return familyOf(name, false).chain(chainForward) }

// LegacyInUse says whether there are rules of the legacy variant at all, without
// loading what it needs in the kernel.
func LegacyInUse() (bool, error) {
	for _, file := range []string{"ip_tables_names", "ip6_tables_names"} {
		list, err := os.ReadFile("/proc/thread-self/net/" + file)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return false, err
		}
		if slices.Contains(strings.Fields(string(list)), tableFilter) {
			return true, nil
		}
	}
	return false, nil
}

// EnsureForeignAccept is the counterpart of that of package nft.
func (f *Firewall) EnsureForeignAccept(context.Context) ([]string, error) { return nil, nil }

// RemoveForeignAccept is the counterpart of that of package nft.
func (f *Firewall) RemoveForeignAccept(context.Context) ([]string, error) { return nil, nil }
