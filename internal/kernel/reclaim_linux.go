package kernel

import (
	"context"
	"errors"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/rtnl"
)

// reclaim gives links of ours what somebody else has taken from them of that by which they
// are known: the link group, and the name. It changes the list, and returns the names of
// those that lacked something.
func (k *Kernel) reclaim(ctx context.Context, links []rtnl.Link, want []model.Object) (lacked map[string]bool) {
	lacked = make(map[string]bool)
	k.markBack(ctx, links, want, lacked)
	k.nameBack(ctx, links, want, lacked)
	return lacked
}

// marks are what a link of ours is known by, besides its group; nothing for other objects.
func marks(o model.Object) (name, kind, alias string) {
	switch o := o.(type) {
	case model.Bridge:
		if !o.Adopted {
			return o.Name, "bridge", o.Alias
		}
	case model.Veth:
		return o.Host, "veth", o.Alias
	}
	return "", "", ""
}

// idIn is the id of ours that an alias ends with, empty without one.
func idIn(alias string) string {
	if id := alias[strings.LastIndexByte(alias, ' ')+1:]; model.IsID(id) {
		return id
	}
	return ""
}

// markBack gives links that have the group of no data directory any more, and have the name and
// an alias with the id of ours, the group again. Without it they would be taken for somebody
// else's.
func (k *Kernel) markBack(ctx context.Context, links []rtnl.Link, want []model.Object, given map[string]bool) {
	byName := make(map[string]int, len(links))
	for i, l := range links {
		byName[l.Name] = i
	}
	for _, o := range want {
		name, kind, alias := marks(o)
		i, ok := byName[name]
		if !ok || idIn(alias) == "" {
			continue
		}
		l := &links[i]
		// Another data directory may be a copy of this one.
		if l.Kind != kind || isGroup(l.Group) || idIn(l.Alias) != idIn(alias) {
			continue
		}
		if err := k.rt.ChangeLink(ctx, name, rtnl.LinkChange{Group: k.group}); err != nil {
			k.log.Warn("a link of ours has another link group, and cannot get its own back", "link", name, "group", l.Group, "err", err)
			continue
		}
		k.log.Warn("a link of ours had another link group, and has its own again", "link", name, "group", l.Group)
		l.Group, given[name] = k.group, true
	}
}

// nameBack gives links of ours that have another name the name that is wanted for them,
// by which the rules know them, where that is free. It changes the list, and enters the
// names that it has given.
func (k *Kernel) nameBack(ctx context.Context, links []rtnl.Link, want []model.Object, given map[string]bool) {
	taken := make(map[string]bool, len(links))
	ours := make(map[string]int) // by alias
	for i, l := range links {
		taken[l.Name] = true
		if l.Group == k.group && l.Alias != "" {
			ours[l.Alias] = i
		}
	}
	for _, o := range want {
		name, kind, alias := marks(o)
		i, ok := ours[alias]
		if name == "" || taken[name] || !ok || links[i].Kind != kind {
			continue
		}
		l := &links[i]
		err := k.rt.ChangeLink(ctx, l.Name, rtnl.LinkChange{Rename: name})
		if errors.Is(err, unix.EBUSY) { // before Linux 6.2, while it is up
			if err = k.rt.ChangeLink(ctx, l.Name, rtnl.LinkChange{Down: true}); err == nil {
				l.Up = false
				err = k.rt.ChangeLink(ctx, l.Name, rtnl.LinkChange{Rename: name})
			}
		}
		if err != nil {
			k.log.Warn("a link of ours has another name, and cannot get its own back", "link", name, "name", l.Name, "err", err)
			continue
		}
		k.log.Warn("a link of ours had another name, and has its own again", "link", name, "name", l.Name)
		l.Name, given[name] = name, true
	}
}
