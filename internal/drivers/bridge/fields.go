package bridge

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"github.com/libnetwork/libnetwork/netlabel"
	"github.com/libnetwork/libnetwork/types"
)

// fields are the options that programs also give by the name of a field. "" is one
// that is no label.
var fields = map[string]string{
	"BridgeName": labelName, "DefaultBridge": labelDefault, "EnableICC": labelICC, "EnableIPMasquerade": labelMasquerade,
	"EnableIPv6": netlabel.EnableIPv6, "Mtu": netlabel.DriverMTU, "DefaultBindingIP": labelBinding4, "Internal": "",
	// These are the address manager's affair: a gateway is given with the subnet, or
	// as an auxiliary address.
	"DefaultGatewayIPv4": "", "DefaultGatewayIPv6": "", "AddressIPv4": "", "AddressIPv6": "",
}

// Typed reads a network's options from a map whose values have the types of what
// they mean. Its names are labels, or those of fields; where there is one field, what
// is not given has the zero value, as in a struct, so that ICC and masquerading are
// off. Of names that the driver does not know, those with text are kept. It fails
// with BadRequest for a type that an option cannot have.
func Typed(network string, raw map[string]any) (opts map[string]string, internal bool, err error) {
	opts = make(map[string]string, len(raw))
	structure := false
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		v := raw[name]
		label, field := fields[name]
		text, ok := textOf(v)
		if !field && !known(name) {
			if text, ok := v.(string); ok {
				opts[name] = text
			}
			continue
		}
		structure = structure || field
		if !field {
			label = name
		}
		if _, isText := v.(string); !isText && slices.Contains([]string{labelName, labelIfPrefix, labelTrusted}, label) {
			ok = false
		}
		switch {
		case v == nil || isNil(v):
			// an address that is not given
		case !ok:
			return nil, false, types.BadRequestErrorf("network %s: option %s cannot be a %T", network, name, v)
		case name == "Internal":
			if internal, err = strconv.ParseBool(text); err != nil {
				return nil, false, types.BadRequestErrorf("network %s: option %s=%q is not true or false", network, name, text)
			}
		case label == "":
			return nil, false, types.BadRequestErrorf("network %s: option %s=%q belongs to the configuration of the subnet", network, name, text)
		default:
			opts[label] = text
		}
	}
	for _, label := range []string{labelICC, labelMasquerade} {
		if _, given := opts[label]; structure && !given {
			opts[label] = "false"
		}
	}
	return opts, internal, nil
}

// known says whether a label is one of this driver's.
func known(label string) bool {
	return slices.Contains([]string{
		labelName, labelDefault, labelICC, labelMasquerade, labelBinding4, labelBinding6, labelMode4, labelMode6, labelInhibit,
		labelTrusted, labelMark, labelSource4, labelSource6, labelIfPrefix, LabelIPv4, netlabel.EnableIPv6, netlabel.DriverMTU,
	}, label)
}

// textOf is a value as a label would have it.
func textOf(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case bool, int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64:
		return fmt.Sprint(v), true
	case net.IP:
		return v.String(), len(v) > 0
	case *net.IPNet:
		return v.String(), v != nil
	case netip.Addr:
		return v.String(), v.IsValid()
	}
	return "", false
}

// isNil says that a value is the address that is not given.
func isNil(v any) bool {
	switch v := v.(type) {
	case net.IP:
		return len(v) == 0
	case *net.IPNet:
		return v == nil
	case netip.Addr:
		return !v.IsValid()
	}
	return false
}
