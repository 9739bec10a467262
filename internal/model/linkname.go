package model

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxLinkName is the longest name of a link: IFNAMSIZ without the final zero.
const MaxLinkName = 15

// CheckLinkName says why a link cannot be named so: the kernel has no such name, a
// firewall would take it for something else than this one link, or a record would not
// keep it. It is the same whichever firewall there is, since a network outlives the
// choice. The error has no class.
func CheckLinkName(name string) error {
	switch {
	case name == "":
		return errors.New("it is empty")
	case len(name) > MaxLinkName:
		return fmt.Errorf("it is longer than %d bytes", MaxLinkName)
	case name == ".", name == "..", name == "all", name == "default":
		// The latter two are directories of settings, which stand for all links.
		return errors.New("the kernel keeps that name for itself")
	case !utf8.ValidString(name):
		return errors.New("it is not valid UTF-8")
	case strings.IndexByte(name, 0xa0) >= 0:
		// As in "à": the kernel reads bytes, by the table of Latin-1 (seen on Linux 6.18).
		return errors.New("the kernel takes its byte a0 for a blank")
	case strings.ContainsAny(name, ` /:%"'\!*`) || strings.ContainsFunc(name, unicode.IsControl):
		return errors.New(`a blank, a control character and / : % " ' \ ! * cannot be in a name`)
	case strings.HasPrefix(name, "-"):
		return errors.New("what begins with a minus sign is an option to iptables")
	case strings.HasSuffix(name, "+"):
		return errors.New("to iptables a plus sign at the end stands for any letters")
	}
	return nil
}

// CheckInterfaceName is [CheckLinkName] for a link inside of a container, where the
// loopback interface is.
func CheckInterfaceName(name string) error {
	if name == "lo" {
		return errors.New("it is that of the loopback interface")
	}
	return CheckLinkName(name)
}
