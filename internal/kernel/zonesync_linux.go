package kernel

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/libnetwork/libnetwork/internal/firewalld"
	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/types"
)

// sync makes the zone what it shall be. When firewalld has forgotten everything, the
// members are what counts, and come first.
func (z *zoneKeeper) sync(ctx context.Context, c *firewalld.Client) error {
	z.mu.Lock()
	want, keep, lost := z.wanted(), z.keep, z.lost
	z.lost = false
	z.mu.Unlock()
	if lost {
		if err := z.look(ctx, c); err != nil {
			z.mu.Lock()
			z.lost = true
			z.mu.Unlock()
			return err
		}
	}
	if !z.running || want == nil {
		return nil
	}
	if len(want) > 0 && !z.loaded {
		if err := z.load(ctx, c); err != nil || !z.loaded {
			return err
		}
	}
	if err := z.arrange(ctx, c, want, keep); err != nil {
		return err
	}
	switch {
	case len(want) > 0 && !z.checked:
		return z.check(ctx, c)
	case len(want) == 0 && !keep && !z.clean:
		return z.cleanUp(ctx, c)
	}
	return nil
}

// look sees whether there is a firewalld that is ours to speak with.
func (z *zoneKeeper) look(ctx context.Context, c *firewalld.Client) error {
	ctx, cancel := context.WithTimeout(ctx, zoneCall)
	defer cancel()
	z.running, z.loaded, z.checked, z.clean, z.checkedKept = false, false, false, false, false
	clear(z.strange)
	pid, err := c.Process(ctx)
	if err != nil {
		return err
	}
	switch {
	case pid == 0:
		z.warned = false
		return nil
	case !z.hostOf(pid):
		z.log.Debug("firewalld is that of another network namespace", "pid", pid)
		z.mu.Lock()
		z.there = nil
		z.mu.Unlock()
		return nil
	}
	z.mu.Lock()
	z.there = z.bus
	rules := z.rules
	z.mu.Unlock()
	if err := c.Idle(ctx); err != nil {
		return err
	}
	// Its start is over now, and with it the last flush of rules.
	rules()
	z.running = true
	return nil
}

// hostOf says whether a process is in our network namespace, or may be.
func (z *zoneKeeper) hostOf(pid uint32) bool {
	path := fmt.Sprintf("/proc/%d/ns/net", pid)
	if _, err := os.Readlink(path); err != nil {
		return true // of another PID namespace: nobody can tell
	}
	ns, err := netns.Open(nil, path)
	if err != nil {
		return true
	}
	defer ns.Close()
	return netns.Same(ns, z.host)
}

// load sees to it that the zone and the policy are in use. They can be made in the
// permanent configuration alone, and come into use by a reload.
func (z *zoneKeeper) load(ctx context.Context, c *firewalld.Client) (err error) {
	call, cancel := context.WithTimeout(ctx, zoneCall)
	defer cancel()
	if z.loaded, err = c.Loaded(call, z.zone); err != nil || z.loaded {
		return err
	}
	if err := z.make(call, c); err != nil || z.reloaded {
		return err
	}
	// So they come with the reload.
	z.keepMembers(ctx, c)
	z.reloaded = true
	z.log.Warn("firewalld is reloaded, so that it knows our zone; what was changed in it at run time alone is lost", "zone", z.zone.Name)
	z.tell(zoneConfigured, "firewalld reloaded")
	if err := z.steps.Next("firewalld: reload"); err != nil {
		return err
	}
	slow, cancel := context.WithTimeout(ctx, zoneReload)
	defer cancel()
	if err := c.Reload(slow); err != nil {
		return err
	}
	// Whoever waits for us counts on the rules too.
	if _, err := z.repairRules(ctx); err != nil {
		return err
	}
	if z.loaded, err = c.Loaded(slow, z.zone); err != nil {
		return err
	}
	if z.loaded {
		z.reloaded = false
	} else {
		z.log.Error("firewalld does not load our zone; it may cut containers off", "zone", z.zone.Name, "policy", z.zone.Policy)
	}
	return nil
}

// make adds what is missing to the permanent configuration, and says so.
func (z *zoneKeeper) make(ctx context.Context, c *firewalld.Client) error {
	if err := z.steps.Next("firewalld: make " + z.zone.Name); err != nil {
		return err
	}
	made, err := c.Make(ctx, z.zone)
	for _, m := range made {
		z.log.Warn("added to the permanent configuration of firewalld, until the last network is deleted", "object", m)
		z.tell(zoneConfigured, "firewalld "+m+" added")
	}
	z.clean = false
	return err
}

// check looks at what makes no haste: whether the zone and the policy will still be
// there after the next reload, and whether a setting is in the way.
func (z *zoneKeeper) check(ctx context.Context, c *firewalld.Client) error {
	ctx, cancel := context.WithTimeout(ctx, zoneCall)
	defer cancel()
	if err := z.make(ctx, c); err != nil {
		return err
	}
	strict, err := c.StrictForwardPorts(ctx)
	if err != nil {
		return err
	}
	z.mu.Lock()
	z.strict = strict
	z.mu.Unlock()
	if strict && !z.warned {
		z.log.Warn("firewalld has StrictForwardPorts=yes in firewalld.conf: it rejects what comes to ports that are published, unless the same port is forwarded in firewalld too (firewall-cmd --add-forward-port)")
		z.tell(zoneWarned, "firewalld StrictForwardPorts=yes rejects what comes to published ports")
	}
	z.warned, z.checked = strict, true
	return nil
}

func (z *zoneKeeper) isStrict() bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.strict
}

// accepts says whether firewalld lets pass what is forwarded from and to our bridges.
func (z *zoneKeeper) accepts() bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.there != nil && z.done == z.asked && !z.strict
}

func (z *zoneKeeper) tell(action, object string) {
	z.mu.Lock()
	foreign := z.foreign
	z.mu.Unlock()
	foreign(action, object)
}

// arrange puts into the zone what is wanted there, and takes out what is ours and is
// not.
func (z *zoneKeeper) arrange(ctx context.Context, c *firewalld.Client, want map[string]bool, keep bool) error {
	call := func(f func(context.Context) error) error {
		ctx, cancel := context.WithTimeout(ctx, zoneCall)
		defer cancel()
		return f(ctx)
	}
	var have []string
	err := call(func(ctx context.Context) (err error) {
		have, err = c.Members(ctx, z.zone.Name)
		return err
	})
	if err != nil {
		return err
	}
	for _, b := range slices.Sorted(maps.Keys(want)) {
		if slices.Contains(have, b) {
			z.members[b] = true
			continue
		}
		if err := call(func(ctx context.Context) error { return z.enter(ctx, c, b) }); err != nil {
			return err
		}
	}
	maps.DeleteFunc(z.others, func(b, _ string) bool { return !want[b] })
	for _, b := range have {
		if want[b] || keep {
			continue
		}
		var mine bool
		err := call(func(ctx context.Context) (err error) {
			mine, err = z.mine(ctx, c, b)
			return err
		})
		if err != nil {
			return err
		}
		if !mine {
			continue
		}
		if err := z.steps.Next("firewalld: drop " + b); err != nil {
			return err
		}
		if err := call(func(ctx context.Context) error { return c.Drop(ctx, z.zone.Name, b) }); err != nil {
			return err
		}
	}
	maps.DeleteFunc(z.members, func(b string, _ bool) bool { return !want[b] })
	return nil
}

// enter puts a bridge into the zone, unless somebody has put it into another one.
func (z *zoneKeeper) enter(ctx context.Context, c *firewalld.Client, bridge string) error {
	if err := z.steps.Next("firewalld: add " + bridge); err != nil {
		return err
	}
	at, err := c.Add(ctx, z.zone.Name, bridge)
	if err != nil {
		return err
	}
	if at != z.zone.Name {
		z.elsewhere(z.others, bridge, at)
		return nil
	}
	delete(z.others, bridge)
	if z.members[bridge] {
		z.tell(zoneRepaired, "firewalld zone "+z.zone.Name+" interface "+bridge)
	}
	z.members[bridge] = true
	return nil
}

// elsewhere tells once of a bridge that is in another zone.
func (z *zoneKeeper) elsewhere(known map[string]string, bridge, at string) {
	if z.others[bridge] != at && z.taken[bridge] != at {
		z.log.Warn("a bridge of ours is in a zone of firewalld that somebody has chosen: it stays there, and what that zone refuses is refused",
			"bridge", bridge, "zone", at)
		z.tell(zoneWarned, "firewalld zone "+at+" has the bridge "+bridge)
	}
	known[bridge] = at
}

// mine says whether a member of the zone that is not wanted is ours to take out:
// somebody else may have put something there.
func (z *zoneKeeper) mine(ctx context.Context, c *firewalld.Client, bridge string) (bool, error) {
	switch {
	case z.members[bridge] || z.kept[bridge]:
		return true, nil
	case z.strange[bridge]:
		return false, nil
	}
	l, err := z.rt.Link(ctx, bridge)
	gone := err != nil
	if !gone && l.Group == z.group {
		return true, nil
	}
	links, ours, err := c.Kept(ctx, z.zone.Name)
	mine := slices.Contains(ours, bridge) || gone && !slices.Contains(links, bridge)
	if err == nil && !mine {
		z.strange[bridge] = true
	}
	return mine, err
}

// cleanUp takes the zone and the policy out of the permanent configuration. Those in
// use stay until the next reload, for which nobody is to be disturbed: a zone without
// members does nothing.
func (z *zoneKeeper) cleanUp(ctx context.Context, c *firewalld.Client) error {
	ctx, cancel := context.WithTimeout(ctx, zoneCall)
	defer cancel()
	if err := z.steps.Next("firewalld: remove " + z.zone.Name); err != nil {
		return err
	}
	removed, left, err := c.Remove(ctx, z.zone)
	if err == nil && len(left) > 0 {
		// It stays, if it does, without our bridges.
		if _, err = c.Keep(ctx, z.zone.Name, nil, z.gone(ctx)); err == nil {
			var more []string
			more, left, err = c.Remove(ctx, z.zone)
			removed = append(removed, more...)
		} else if errors.As(err, new(types.NotFoundError)) {
			err = nil // the policy alone was left
		}
	}
	for _, r := range removed {
		z.log.Info("removed from the permanent configuration of firewalld", "object", r)
		z.tell(zoneConfigured, "firewalld "+r+" removed")
	}
	if len(left) > 0 {
		z.log.Warn("somebody has changed what we made in firewalld's permanent configuration: it stays", "objects", strings.Join(left, ", "))
	}
	z.checked, z.clean = false, err == nil
	if err == nil {
		clear(z.kept)
		clear(z.taken)
		z.checkedKept = false
	}
	return err
}
