package ipt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/libnetwork/libnetwork/internal/nft"
)

// legacyFilter says whether the legacy variant has a table filter.
func legacyFilter(v6 bool) (bool, error) { return legacyUses(tableFilter, v6) }

// legacyUses says whether the legacy variant has a table, without loading what it needs in
// the kernel.
func legacyUses(table string, v6 bool) (bool, error) {
	list, err := os.ReadFile(legacyTables(v6))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return slices.Contains(strings.Fields(string(list)), table), err
}

// legacyTables is the file that lists the tables of the legacy variant in use.
func legacyTables(v6 bool) string {
	if v6 {
		return "/proc/thread-self/net/ip6_tables_names"
	}
	return "/proc/thread-self/net/ip_tables_names"
}

// legacyLoaded says whether the kernel has the legacy variant, once a program has asked
// for it.
func legacyLoaded(v6 bool) bool {
	_, err := os.Stat(legacyTables(v6))
	return !errors.Is(err, os.ErrNotExist)
}

// EnsureForeignAccept puts, where the chain DOCKER-USER exists in the tables of the
// other variant, a rule to its end (before a RETURN there) that accepts what our forward chain accepted,
// unless it is there. In the tables of this variant our own chain comes first and
// accepts for good, so it takes such a rule away there. It returns a line for each
// rule that it added or deleted.
func (f *Firewall) EnsureForeignAccept(ctx context.Context) ([]string, error) {
	return f.foreign(ctx, true)
}

// RemoveForeignAccept deletes the rules that EnsureForeignAccept added, by this
// process or an earlier one, of whatever backend, and nothing else. It returns a
// line for each.
func (f *Firewall) RemoveForeignAccept(ctx context.Context) ([]string, error) {
	return f.foreign(ctx, false)
}

func (f *Firewall) foreign(ctx context.Context, want bool) (lines []string, err error) {
	err = f.do(ctx, "rules of others beside", func() error {
		var errs []error
		for _, v := range []Variant{NFT, Legacy} {
			for i, fam := range f.fams {
				if fam.v6 && !hasIPv6() {
					continue
				}
				if v == Legacy {
					if used, err := legacyFilter(fam.v6); err != nil || !used {
						errs = append(errs, err)
						continue
					}
				}
				line, err := f.foreignOne(ctx, v, i, want && v != f.variant)
				if line != "" {
					lines = append(lines, line)
				}
				errs = append(errs, err)
			}
		}
		return errors.Join(errs...)
	})
	return lines, err
}

// foreignOne changes the chain of one variant and family.
func (f *Firewall) foreignOne(ctx context.Context, v Variant, i int, want bool) (string, error) {
	progs := f.progs[i]
	if v != f.variant {
		var err error
		if progs, err = find(v, f.fams[i].v6, f.cfg.Dirs); err != nil {
			if v == NFT {
				return "", nil // Docker needs them as well
			}
			return "", err
		}
	}
	out, err := f.run(ctx, "", progs.save)
	if err != nil {
		if v != f.variant && v == NFT {
			f.log.Debug("the other variant of iptables cannot be asked", "err", err)
			return "", nil
		}
		return "", err
	}
	changes := nft.UserChainChange(out, strings.ToLower(f.cfg.Name), want)
	if len(changes) == 0 {
		return "", nil
	}
	if err := f.cfg.Steps.Next("ipt: foreign accept"); err != nil {
		return "", err
	}
	input := "*" + tableFilter + "\n" + strings.Join(changes, "\n") + "\nCOMMIT\n"
	if _, err := f.run(ctx, input, progs.restore, "--noflush", "-w"); err != nil {
		return "", fmt.Errorf("chain %s: %w", userChain, err)
	}
	return filepath.Base(strings.TrimSuffix(progs.restore, "-restore")) + " " + strings.Join(changes, "; "), nil
}
