package bridge_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork/netlabel"
)

// TestDocs looks for each label that options.go names in the page for operators.
func TestDocs(t *testing.T) {
	read := func(file string) string {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	page := read("../../../docs/bridge.md")
	labels := []string{netlabel.DriverMTU, netlabel.EnableIPv6, netlabel.Internal}
	prefixes := map[string]string{"labelPrefix": netlabel.Prefix + ".bridge.", "netlabel.Prefix": netlabel.Prefix}
	constant := regexp.MustCompile(`(?m)^(?:\t|const )[lL]abel\w+ += (labelPrefix|netlabel\.Prefix) \+ "([^"]+)"$`)
	for _, m := range constant.FindAllStringSubmatch(read("options.go"), -1) {
		if name := prefixes[m[1]] + m[2]; name != prefixes["labelPrefix"] {
			labels = append(labels, name)
		}
	}
	const atLeast = 20
	if len(labels) < atLeast {
		t.Errorf("options.go has the labels %v, which are not all", labels)
	}
	for _, l := range labels {
		if !strings.Contains(page, "\n| `"+l+"` |") {
			t.Errorf("docs/bridge.md does not have the option %s", l)
		}
	}
}
