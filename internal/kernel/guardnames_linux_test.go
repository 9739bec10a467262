package kernel

import "testing"

// Names that a firewall takes for several links, or the kernel for all, open nothing.
func TestGuardNames(t *testing.T) {
	if got := guardNames([]string{"docker0", "br+", "default", "-i", "a\"b", "virbr0"}); got != "docker0 virbr0" {
		t.Errorf("%q", got)
	}
}
