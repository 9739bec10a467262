package firewalld

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/godbus/dbus/v5"

	"github.com/libnetwork/libnetwork/types"
)

// A Zone is a zone whose members may reach everything that others do not refuse, and
// the policy that lets others reach them.
type Zone struct {
	Name, Policy string
	// Description is the mark of what is ours. That of the zone also lists, behind it,
	// those of its permanent members that are.
	Description string
}

// Longest is how long names may be: firewalld makes names of chains from them.
const Longest = 17

func (z Zone) zone() map[string]any {
	return map[string]any{"target": "ACCEPT", "forward": true, "short": z.Name, "description": z.Description}
}

func (z Zone) policy() map[string]any {
	return map[string]any{
		"target": "ACCEPT", "priority": int32(-1), "short": z.Policy, "description": z.Description,
		"ingress_zones": []string{"ANY"}, "egress_zones": []string{z.Name},
	}
}

// listed comes between the description and the list of members that are ours: so the
// list is written together with the members, and outlives who has written it. It is
// all one line, since firewalld reads line breaks as spaces.
const listed = " Members: "

func describe(text string, ours []string) string {
	if len(ours) == 0 {
		return text
	}
	return text + listed + strings.Join(ours, " ")
}

// describes takes apart what describe has put together.
func describes(description string) (text string, ours []string) {
	i := strings.LastIndex(description, listed)
	if i < 0 {
		return description, nil
	}
	return description[:i], strings.Fields(description[i+len(listed):])
}

// kind is how zones and policies are asked for in the permanent configuration.
type kind struct {
	name                               string
	list, add, find, settings, invalid string
}

var (
	zones    = kind{"zone", ".config.getZoneNames", ".config.addZone2", ".config.getZoneByName", ".config.zone.getSettings2", "INVALID_ZONE"}
	policies = kind{"policy", ".config.getPolicyNames", ".config.addPolicy", ".config.getPolicyByName", ".config.policy.getSettings", "INVALID_POLICY"}
)

func (c *Client) exists(ctx context.Context, k kind, what string) (bool, error) {
	var names []string
	err := c.call(ctx, configPath, name+k.list, []any{&names})
	return slices.Contains(names, what), err
}

// open finds a zone or a policy of the permanent configuration, and its settings. There
// is no path to one that is not there. Paths are numbers that a reload gives anew, so
// they are good for the next call alone.
func (c *Client) open(ctx context.Context, k kind, what string) (at dbus.ObjectPath, has map[string]dbus.Variant, err error) {
	err = c.call(ctx, configPath, name+k.find, []any{&at}, what)
	if is(err, k.invalid) {
		return "", nil, nil
	}
	if err == nil {
		err = c.call(ctx, at, name+k.settings, []any{&has})
	}
	return at, has, err
}

// Make adds the zone and the policy to the permanent configuration. One that is
// there stays as it is. It returns what it has added.
func (c *Client) Make(ctx context.Context, z Zone) (made []string, err error) {
	for _, m := range []struct {
		kind
		name     string
		settings map[string]any
	}{{zones, z.Name, z.zone()}, {policies, z.Policy, z.policy()}} {
		there, err := c.exists(ctx, m.kind, m.name)
		if err != nil {
			return made, err
		}
		if there {
			continue
		}
		if err := c.call(ctx, configPath, name+m.add, nil, m.name, variants(m.settings)); err != nil && !is(err, "NAME_CONFLICT") {
			return made, err
		}
		made = append(made, m.kind.name+" "+m.name)
	}
	return made, nil
}

func variants(settings map[string]any) map[string]dbus.Variant {
	out := make(map[string]dbus.Variant, len(settings))
	for key, v := range settings {
		out[key] = dbus.MakeVariant(v)
	}
	return out
}

// Remove takes the policy and the zone from the permanent configuration, if they are
// as Make and Keep have made them. It returns what it has removed, and what it has left
// since somebody has changed it. The files get the suffix .old by firewalld.
func (c *Client) Remove(ctx context.Context, z Zone) (removed, left []string, err error) {
	for _, m := range []struct {
		kind
		name     string
		settings map[string]any
	}{{policies, z.Policy, z.policy()}, {zones, z.Name, z.zone()}} {
		at, has, err := c.open(ctx, m.kind, m.name)
		if err != nil {
			return removed, left, err
		}
		if at == "" {
			continue
		}
		if links, ours := members(has); len(without(links, ours)) == 0 {
			delete(has, "interfaces")
			m.settings["description"] = describe(z.Description, ours)
		}
		if !same(m.settings, has) {
			left = append(left, m.kind.name+" "+m.name)
			continue
		}
		if err := c.call(ctx, at, name+".config."+m.kind.name+".remove", nil); err != nil {
			return removed, left, err
		}
		removed = append(removed, m.kind.name+" "+m.name)
	}
	return removed, left, nil
}

// members returns the members that settings name, and which of them are listed as ours.
func members(has map[string]dbus.Variant) (links, ours []string) {
	links, _ = has["interfaces"].Value().([]string)
	text, _ := has["description"].Value().(string)
	_, ours = describes(text)
	return links, ours
}

func without(list, others []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(others, s) })
}

// Kept returns the members of the zone in the permanent configuration, and those that
// are listed there as put by Keep. A zone that is not there has none.
func (c *Client) Kept(ctx context.Context, zone string) (links, ours []string, err error) {
	_, has, err := c.open(ctx, zones, zone)
	links, ours = members(has)
	return links, ours, err
}

// Keep makes links members of the zone in the permanent configuration, from which
// firewalld takes its members at a start and a reload, and takes those out of it that
// gone says so of; listed says that Keep has put them there. All of it is one call,
// and none if nothing differs. It returns the zones that already have links of these
// permanently: those stay there. It is a NotFound error if there is no such zone.
func (c *Client) Keep(ctx context.Context, zone string, links []string, gone func(link string, listed bool) bool) (elsewhere map[string]string, err error) {
	at, has, err := c.open(ctx, zones, zone)
	if err != nil {
		return nil, err
	}
	if at == "" {
		return nil, types.NotFoundErrorf("firewalld: zone %s is not in the permanent configuration", zone)
	}
	err = c.keep(ctx, at, has, links, gone)
	if !is(err, "ZONE_CONFLICT") && !is(err, "INVALID_INTERFACE") {
		return nil, err
	}
	// Nothing was written, and which link it was is said in prose alone.
	was, _ := members(has)
	elsewhere = make(map[string]string)
	for _, l := range without(links, was) {
		var other string
		if err := c.call(ctx, configPath, name+".config.getZoneOfInterface", []any{&other}, l); err != nil {
			return nil, err
		}
		if other != "" && other != zone {
			elsewhere[l] = other
		}
	}
	if len(elsewhere) == 0 {
		return nil, err
	}
	return elsewhere, c.keep(ctx, at, has, without(links, slices.Collect(maps.Keys(elsewhere))), gone)
}

func (c *Client) keep(ctx context.Context, at dbus.ObjectPath, has map[string]dbus.Variant, links []string, gone func(string, bool) bool) error {
	was, listed := members(has)
	next := slices.DeleteFunc(slices.Clone(was), func(l string) bool {
		return !slices.Contains(links, l) && gone(l, slices.Contains(listed, l))
	})
	next = append(next, without(links, next)...)
	ours := slices.DeleteFunc(slices.Clone(next), func(l string) bool {
		return !slices.Contains(links, l) && !slices.Contains(listed, l)
	})
	slices.Sort(ours)
	before, _ := has["description"].Value().(string)
	text, _ := describes(before)
	if text = describe(text, ours); slices.Equal(next, was) && text == before {
		return nil
	}
	// Should it have been reloaded since, the path may be that of another zone: that
	// cannot have what is in ours, so what names such a link is refused.
	return c.call(ctx, at, name+".config.zone.update2", nil, variants(map[string]any{"interfaces": next, "description": text}))
}

// same says whether settings are those that were given, and nothing besides: what
// was not given is empty.
func same(given map[string]any, has map[string]dbus.Variant) bool {
	for key, v := range has {
		if _, ok := given[key]; !ok && !empty(reflect.ValueOf(v.Value())) {
			return false
		}
	}
	return !slices.ContainsFunc(slices.Collect(maps.Keys(given)), func(key string) bool {
		v, ok := has[key]
		return !ok || !reflect.DeepEqual(v.Value(), given[key])
	})
}

func empty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map:
		return v.Len() == 0
	case reflect.Invalid:
		return true
	default:
		return v.IsZero()
	}
}
