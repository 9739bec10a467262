package ipt

import (
	"errors"
	"testing"
)

func TestOutdated(t *testing.T) {
	const batch = "*filter\n-A X -j Y\nCOMMIT\n"
	for said, want := range map[string]bool{
		"iptables-restore: line 2 failed": true,
		"iptables-restore: line 3 failed": false, // the kernel refuses
		"iptables-restore: line 9 failed": false,
		"iptables-restore v1.8.9 (legacy): Couldn't load target `Y':No such file or directory":   true,
		"iptables-nft-restore v1.8.9 (nf_tables): Chain 'Y' does not exist":                      true,
		"iptables-nft-restore: line 2 failed: Index of insertion too big.":                       true,
		"line 2: RULE_APPEND failed (No such file or directory): rule in chain X":                true,
		"line 4: CHAIN_DEL failed (Device or resource busy): chain X":                            true,
		"iptables-restore v1.8.9 (legacy): Couldn't load match `z':No such file or directory":    false,
		"iptables-restore v1.8.9 (legacy): can't initialize iptables table `nat': no permission": false,
	} {
		if got := outdated(batch, errors.New(said)); got != want {
			t.Errorf("%q: %t, want %t", said, got, want)
		}
	}
}
