package store

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// heal brings the two files together after they were read: each may be
// missing, damaged or older than the other. What differs is written, and
// nothing else.
func (l *Local) heal(data, run *content) error {
	l.problems = append(data.problems, run.problems...)
	sameBoot := !run.fresh && l.run.man.boot == l.boot
	l.sameBoot = sameBoot
	known := l.data.man.uid != 0
	sameStore := known && l.run.man.uid == l.data.man.uid

	want := data.entries
	if sameBoot && (sameStore || !known) {
		want = l.restore(data, run)
	}
	man := l.data.man
	if !known {
		man.uid = newUID()
		if sameBoot && l.run.man.uid != 0 {
			man.uid, man.seq = l.run.man.uid, l.run.man.seq
		}
	}
	// Numbers only grow, so a number means one state for ever.
	if sameBoot && sameStore {
		man.seq = max(man.seq, l.run.man.seq)
	}
	if diff := difference(data.entries, want); len(diff) > 0 || man != l.data.man {
		man.seq++
		man.boot = l.boot
		if _, err := l.data.write(man, diff, nil); err != nil {
			return err
		}
	}

	state := l.wantedRun(data, run, want, sameStore)
	runMan := l.run.man
	runMan.uid, runMan.seq, runMan.boot = l.data.man.uid, l.data.man.seq, l.boot
	if diff := difference(run.entries, state); len(diff) > 0 || runMan != l.run.man {
		if _, err := l.run.write(runMan, diff, nil); err != nil {
			return err
		}
	}

	for key, e := range state {
		kind, id := splitKey(key)
		_, durable := want[key]
		l.records = append(l.records, Record{
			Kind: kind, ID: id, Value: e.value,
			Durable: durable,
			Stale:   !durable && e.boot != l.boot,
		})
		if durable {
			l.durable[key] = true
		}
	}
	slices.SortFunc(l.records, func(a, b Record) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ID, b.ID))
	})
	return nil
}

// restore returns what the data file shall hold, given a run file of this boot
// that has a copy of it.
func (l *Local) restore(data, run *content) map[string]entry {
	copies := map[string]entry{}
	for key, e := range run.entries {
		if e.durable {
			copies[key] = e
		}
	}
	lost := data.fresh || data.suspect
	older := !lost && !run.suspect && l.data.man.seq < l.run.man.seq
	switch {
	case older:
		l.problems = append(l.problems, Problem{Path: l.data.path, Err: fmt.Errorf(
			"%w: it is older than its copy in %s, which was taken", errDamaged, l.run.path)})
		return copies
	case !lost:
		return data.entries
	}
	want, n := map[string]entry{}, 0
	maps.Copy(want, data.entries)
	for key, e := range copies {
		if _, ok := want[key]; !ok {
			want[key] = e
			n++
		}
	}
	if n > 0 {
		l.problems = append(l.problems, Problem{Path: l.data.path, Err: fmt.Errorf(
			"%w or missing: %d records were taken from the copy in %s", errDamaged, n, l.run.path)})
	}
	return want
}

// wantedRun returns what the run file shall hold: a copy of the data file and
// its own records, with a transaction completed that reached the data file
// alone.
func (l *Local) wantedRun(data, run *content, want map[string]entry, sameStore bool) map[string]entry {
	state := map[string]entry{}
	for key, e := range run.entries {
		switch {
		case !e.durable:
			state[key] = e
		case data.fresh:
			// A copy of an earlier boot whose original is lost: the caller
			// sees it as stale and decides.
			e.durable = false
			state[key] = e
		}
	}
	if !run.fresh && !run.suspect && sameStore && len(data.redo) > 0 {
		r, boot, err := decodeRedo(data.redo)
		if err != nil {
			l.problems = append(l.problems, Problem{Path: l.data.path, Err: fmt.Errorf("last transaction: %w", err)})
		}
		if err == nil && boot == l.boot && r.Seq > l.run.man.seq {
			redoInto(state, r)
		}
	}
	maps.Copy(state, want)
	return state
}

func redoInto(state map[string]entry, r redo) {
	for _, c := range r.Changes {
		if len(c.Raw) == 0 {
			delete(state, c.Key)
		} else if e, err := decode(c.Key, c.Raw); err == nil && !e.durable {
			state[c.Key] = e
		}
	}
}

// difference returns the changes that turn have into want.
func difference(have, want map[string]entry) []change {
	var diff []change
	for key := range have {
		if _, ok := want[key]; !ok {
			diff = append(diff, change{key: key})
		}
	}
	for key, e := range want {
		old, ok := have[key]
		if ok && old.boot == e.boot && old.durable == e.durable && bytes.Equal(old.value, e.value) {
			continue
		}
		diff = append(diff, change{key: key, raw: encode(key, e)})
	}
	return diff
}

// newUID returns a random number other than 0, which stands for none.
func newUID() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return binary.BigEndian.Uint64(b[:]) | 1
}

// redo is what a data transaction leaves for the run file, in case that the
// process dies before the run file is written too. Durable records are not in
// it: they are copied at every start.
type redo struct {
	Seq     uint64
	Changes []redoChange
}

type redoChange struct {
	Key string
	Raw []byte // empty deletes: an encoded entry never is
}

// encodeRedo returns nil where there is nothing to do again.
func encodeRedo(boot, seq uint64, all []change) ([]byte, error) {
	r := redo{Seq: seq}
	for _, c := range all {
		// What was not set aside yet is found again by the next start.
		if !c.durable && c.aside == "" {
			r.Changes = append(r.Changes, redoChange{c.key, c.raw})
		}
	}
	if len(r.Changes) == 0 {
		return nil, nil
	}
	b, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return encode(string(keyRedo), entry{value: b, boot: boot}), nil
}

func decodeRedo(raw []byte) (redo, uint64, error) {
	var r redo
	e, err := decode(string(keyRedo), raw)
	if err == nil {
		err = json.Unmarshal(e.value, &r)
	}
	return r, e.boot, err
}
