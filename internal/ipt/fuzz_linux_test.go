package ipt

import (
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork/internal/model"
)

// FuzzParse reads whatever a program may list. What is ours in it is found, and to
// remove all of it nothing is named that is not ours.
func FuzzParse(f *testing.F) {
	fam := familyOf(DefaultName, false)
	f.Add("*filter\n" + strings.Join(replace(listing{rules: nothing(), place: 1}, fam.base(model.FirewallGuard{V4: true, V6: true}))[tableFilter], "\n") + "\nCOMMIT\n")
	f.Add("*filter\n:FORWARD DROP [0:0]\n:LIBNETWORK-PASS - [0:0]\n-A FORWARD -j DOCKER-USER\n" +
		"-A FORWARD -m comment --comment \"libnetwork.00000000\" -j LIBNETWORK-FORWARD\n-A LIBNETWORK-PASS -j ACCEPT\nCOMMIT\n")
	f.Add("*nat\n-A LIBNETWORK-ANY -m comment --comment \"\n-A x\nCOMMIT\n*\n:\n-A ")
	f.Fuzz(func(t *testing.T, text string) {
		l := fam.parse([]byte(text))
		if l.place < 1 {
			t.Errorf("place %d", l.place)
		}
		for table, lines := range replace(l, nothing()) {
			for _, line := range lines {
				verb, rest, _ := strings.Cut(line, " ")
				chain, rule, _ := strings.Cut(rest, " ")
				switch verb {
				case "-F", "-X":
					if !fam.owns(chain) {
						t.Errorf("%q of table %s is not about a chain of ours", line, table)
					}
				case "-D":
					if !fam.owns(targetOf(rule)) || !strings.Contains(text, line[len("-D "):]) {
						t.Errorf("%q of table %s does not lead to a chain of ours", line, table)
					}
				default:
					t.Errorf("%q removes nothing", line)
				}
			}
		}
		whole := fam.base(model.FirewallGuard{V4: true, V6: true})
		now := l
		if b := replace(listing{rules: whole, place: l.place}, whole); len(b) > 0 {
			t.Errorf("what is as wanted is changed: %v", b)
		}
		for name, table := range whole {
			if table.equal(now.rules[name]) != (len(replace(now, whole)[name]) == 0) {
				t.Errorf("table %s is equal, and changed", name)
			}
		}
	})
}
