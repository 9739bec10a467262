package kernel

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/libnetwork/libnetwork/internal/firewalld"
	"github.com/libnetwork/libnetwork/types"
)

// A permanent member is one that firewalld itself brings back, at its start and with
// the rules of a reload, so that there is no moment without it. It is none at run time
// before: each bridge is both.

// keeps returns the bridges that shall be members in the permanent configuration: all
// but those that somebody has put into another zone. With keep nothing is taken out.
func (z *zoneKeeper) keeps() (want map[string]bool, keep bool) {
	z.mu.Lock()
	want, keep = z.wanted(), z.keep
	z.mu.Unlock()
	maps.DeleteFunc(want, func(b string, _ bool) bool { return z.others[b] != "" })
	return want, keep
}

// unkept says whether there is something to write: what goes with the last network
// goes with the zone.
func (z *zoneKeeper) unkept() bool {
	want, _ := z.keeps()
	return z.running && len(want)+len(z.others) > 0 && z.checked && (!z.checkedKept || !maps.Equal(want, z.kept))
}

// keepMembers makes permanent members what shall be, and says whether it has done so.
// Who cannot write has them at run time all the same.
func (z *zoneKeeper) keepMembers(ctx context.Context, c *firewalld.Client) (done bool) {
	z.waiting = false
	want, keep := z.keeps()
	if !z.running || len(want)+len(z.others) == 0 {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, zoneCall)
	defer cancel()
	gone := z.gone(ctx)
	if keep {
		gone = func(string, bool) bool { return false }
	}
	err := z.steps.Next("firewalld: keep the members of " + z.zone.Name)
	var taken map[string]string
	if err == nil {
		taken, err = c.Keep(ctx, z.zone.Name, slices.Sorted(maps.Keys(want)), gone)
	}
	if errors.As(err, new(types.NotFoundError)) {
		// Somebody has removed the zone since.
		z.checked = false
		z.nudge()
	}
	if err != nil {
		if err.Error() != z.unwritten {
			z.unwritten = err.Error()
			z.log.Warn("our bridges cannot be written into firewalld's permanent configuration; its next reload cuts containers off for a moment", "err", err)
		}
		return false
	}
	for b, at := range taken {
		z.elsewhere(z.taken, b, at)
	}
	maps.DeleteFunc(z.taken, func(b, _ string) bool { return taken[b] == "" })
	z.log.Debug("written into firewalld's permanent configuration", "zone", z.zone.Name, "members", len(want)-len(taken))
	z.kept, z.checkedKept, z.unwritten = want, true, ""
	return true
}

// gone says of members that are not wanted whether they are ours to take out of the
// permanent configuration: what firewall-cmd --runtime-to-permanent has put there is
// not listed.
func (z *zoneKeeper) gone(ctx context.Context) func(link string, listed bool) bool {
	return func(link string, listed bool) bool {
		if listed || z.kept[link] {
			return true
		}
		l, err := z.rt.Link(ctx, link)
		return err == nil && l.Group == z.group
	}
}

// farewell writes what the end has come before.
func (z *zoneKeeper) farewell(ctx context.Context) {
	z.mu.Lock()
	dead := z.dead
	z.mu.Unlock()
	if dead || !z.unkept() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, zoneFarewell)
	defer cancel()
	c, err := firewalld.Dial(ctx, func(firewalld.Signal) {})
	if err != nil {
		return
	}
	z.keepMembers(ctx, c)
	_ = c.Close()
}
