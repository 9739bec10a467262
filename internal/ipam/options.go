package ipam

import (
	"strconv"
	"time"

	"github.com/libnetwork/libnetwork/ipamapi"
	"github.com/libnetwork/libnetwork/types"
)

// The options that RequestPool understands; of these RequestAddress understands
// OptSerial. All others are ignored.
const (
	// OptSerial, a boolean, chooses the address after the one that was chosen
	// last, rather than the lowest free one. For a pool it is what requests of
	// addresses do that have no such option themselves.
	OptSerial = "com.docker.network.ipam.serial"

	// OptReuseDelay, a duration such as "30s", is for how long an address that was
	// released is not chosen again, unless there is no other. It holds for the
	// master pool; of several ones the longest counts.
	OptReuseDelay = "com.docker.network.ipam.reuse_delay"

	// OptPointToPoint, a boolean, makes both addresses of an IPv6 /127 usable
	// (RFC 6164). It holds for the master pool.
	OptPointToPoint = "p2p"
)

type options struct {
	serial, p2p bool
	delay       time.Duration
}

func parseOptions(opts map[string]string) (o options, err error) {
	if len(opts) == 0 {
		return o, nil
	}
	if o.serial, err = boolean(opts, OptSerial, false); err != nil {
		return o, err
	}
	if o.p2p, err = boolean(opts, OptPointToPoint, false); err != nil {
		return o, err
	}
	if v, ok := opts[OptReuseDelay]; ok {
		if o.delay, err = time.ParseDuration(v); err != nil || o.delay < 0 {
			return o, types.BadRequestErrorf("option %s: %q is not a duration: %w", OptReuseDelay, v, ipamapi.ErrInvalidRequest)
		}
	}
	return o, nil
}

// boolean reads an option; absent is what it is without.
func boolean(opts map[string]string, name string, absent bool) (bool, error) {
	v, ok := opts[name]
	if !ok {
		return absent, nil
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		return false, types.BadRequestErrorf("option %s: %q is neither true nor false: %w", name, v, ipamapi.ErrInvalidRequest)
	}
	return b, nil
}
