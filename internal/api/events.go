package api

import (
	"encoding/json"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/types"
)

// EventFilter says which events are wanted: values by key. Values of one key are
// alternatives; all keys must fit.
type EventFilter map[string][]string

// eventFilters are the keys, with what they compare.
func eventFilters() map[string]func(ev *Event, want string) bool {
	is := func(get func(*Event) string) func(*Event, string) bool {
		return func(ev *Event, want string) bool { return get(ev) == want }
	}
	action := is(func(ev *Event) string { return ev.Action })
	return map[string]func(*Event, string) bool{
		"type": is(func(ev *Event) string { return ev.Type }), "scope": is(func(ev *Event) string { return ev.Scope }),
		"action": action, "event": action,
		"id":        func(ev *Event, want string) bool { return strings.HasPrefix(ev.Actor.ID, want) },
		"name":      func(ev *Event, want string) bool { return strings.Contains(ev.Actor.Attributes["name"], want) },
		"network":   func(ev *Event, want string) bool { return ev.concerns("network", want) },
		"container": func(ev *Event, want string) bool { return ev.concerns("container", want) },
		"endpoint":  func(ev *Event, want string) bool { return ev.concerns("endpoint", want) },
	}
}

// concerns says whether the event is of an object of a type, or names it: by its
// name or the beginning of its id.
func (ev *Event) concerns(kind, want string) bool {
	if other, ok := ev.Actor.Attributes[kind]; ok && (other == want || model.IsID(other) && strings.HasPrefix(other, want)) {
		return true
	}
	return ev.Type == kind && (ev.Actor.Attributes["name"] == want || strings.HasPrefix(ev.Actor.ID, want))
}

// Check refuses keys that there are none of, and empty values.
func (f EventFilter) Check() error {
	known := eventFilters()
	for _, key := range slices.Sorted(maps.Keys(f)) {
		if known[key] == nil {
			return types.BadRequestErrorf("filter: key %q is not one of %s", key, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		}
		if slices.Contains(f[key], "") {
			return types.BadRequestErrorf("filter: %s has no value", key)
		}
	}
	return nil
}

// Fits says whether an event is wanted. The filter has been checked.
func (f EventFilter) Fits(ev Event) bool {
	known := eventFilters()
	for key, values := range f {
		if len(values) > 0 && !slices.ContainsFunc(values, func(v string) bool { return known[key](&ev, v) }) {
			return false
		}
	}
	return true
}

// UnmarshalJSON reads lists of values, {"type":["network"]}, and sets of them,
// {"type":{"network":true}}, as container engines write both.
func (f *EventFilter) UnmarshalJSON(data []byte) error {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	out := make(EventFilter, len(raw))
	for key, value := range raw {
		var list []string
		if err := json.Unmarshal(value, &list); err != nil {
			var set map[string]bool
			if json.Unmarshal(value, &set) != nil {
				return err
			}
			for v, wanted := range set {
				if wanted {
					list = append(list, v)
				}
			}
			slices.Sort(list)
		}
		out[key] = list
	}
	*f = out
	return nil
}

// EventQuery says which events are asked for. Since and Until are as ParseTime
// reads them; empty: from now on, and without an end.
type EventQuery struct {
	Since, Until string
	Filters      EventFilter
}

// ParseTime reads a time: seconds since 1970 with or without a fraction, a date and
// time of RFC 3339 with or without zone and what is behind the minutes, a date, or a
// duration such as 10m, which is that long before now. What lies before 1970 is
// 1970: no event is older.
func ParseTime(s string, now time.Time) (time.Time, error) {
	t, err := parseTime(s, now)
	if err == nil && t.Unix() < 0 {
		t = time.Unix(0, 0)
	}
	return t, err
}

func parseTime(s string, now time.Time) (time.Time, error) {
	if t, ok := unixTime(s); ok {
		return t, nil
	}
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, types.BadRequestErrorf("%q is not a time: use 10m for ten minutes ago, 2006-01-02T15:04:05Z, or seconds since 1970", s)
}

// unixTime reads seconds since 1970 that a time can hold, to the nanosecond.
func unixTime(s string) (time.Time, bool) {
	const longest = 32
	if len(s) > longest || strings.Trim(s, "0123456789.") != "" {
		return time.Time{}, false
	}
	seconds, ok := new(big.Rat).SetString(s)
	if !ok {
		return time.Time{}, false
	}
	nanos := new(big.Int).Quo(new(big.Int).Mul(seconds.Num(), big.NewInt(int64(time.Second))), seconds.Denom())
	if !nanos.IsInt64() {
		return time.Time{}, false
	}
	return time.Unix(0, nanos.Int64()), true
}

// FormatTime writes a time as ParseTime reads it, to the nanosecond.
func FormatTime(t time.Time) string {
	nanos := strconv.FormatInt(int64(t.Nanosecond()), 10)
	return strconv.FormatInt(t.Unix(), 10) + "." + strings.Repeat("0", 9-len(nanos)) + nanos
}
