package run

import (
	"strconv"
	"strings"
)

// A mount is a line of /proc/PID/mountinfo (proc(5)), as far as it is used.
type mount struct {
	id, parent int
	point      string
}

// parseMount reads a line of mountinfo. It reports false for what is none.
func parseMount(line string) (mount, bool) {
	fields := strings.Fields(line)
	if len(fields) < 6 {
		return mount{}, false
	}
	id, err := strconv.Atoi(fields[0])
	if err != nil {
		return mount{}, false
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return mount{}, false
	}
	return mount{id: id, parent: parent, point: unescape(fields[4])}, true
}

// unescape undoes the kernel's \ooo for blank, tab, newline and backslash.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
