package model_test

import (
	"testing"

	"github.com/libnetwork/libnetwork/internal/model"
)

func TestCheckLinkName(t *testing.T) {
	for _, name := range []string{"br-0123456789ab", "eth0.100", "a+b", "a#b", "a,b;c", "$(x)", "[a]", "a-", "ä", "alll", "...", "all0", "fifteen-letters"} {
		if err := model.CheckLinkName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{
		"", ".", "..", "all", "default", "sixteen-letters.", "a/b", "a:b", "a b", "a\tb", "a\nb", "a\vb", "a\x00b", "a\x7fb", "a\u0085b",
		"a%d", `a"`, "a'", `a\`, "!a", "a!", "a*", "-a", "+", "eth+", "a\xff", "\xe4", "à", "a\u00a0",
	} {
		if model.CheckLinkName(name) == nil {
			t.Errorf("%q passes", name)
		}
	}
	for name, ok := range map[string]bool{"eth0": true, "lo": false, "all": false} {
		if err := model.CheckInterfaceName(name); (err == nil) != ok {
			t.Errorf("inside, %q: %v", name, err)
		}
	}
}
