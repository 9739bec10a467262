// Package apply moves the kernel from the objects it has to the objects wanted
// of it. Create, delete, rollback, restart and repair all are this one
// function.
//
// It computes the difference, deletes what is not wanted any more in the
// reverse of the fixed order of kinds, then creates what is missing in that
// order, and remembers every step. When one fails, the steps done so far are
// undone, the last one first, on a context of their own, so that the kernel is
// as it was.
//
// It holds no state; calls for different objects may run at the same time.
package apply

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/libnetwork/libnetwork/internal/model"
)

// undoTime is how long an undo may take before it is given up. What is left
// then is found by the next recovery.
const undoTime = 30 * time.Second

// Floor makes and removes objects. Each call gets objects of one Order. A
// Create that fails leaves none of its objects behind. A Delete goes on after a
// failure and returns all of them joined; an object that is gone already is no
// failure.
type Floor interface {
	Create(ctx context.Context, objs []model.Object) error
	Delete(ctx context.Context, objs []model.Object) error
}

// Log is what has been done, for undoing it.
type Log struct {
	floor Floor
	steps []step
}

type step struct {
	created bool
	objs    []model.Object
}

// Apply moves the kernel from have to want. On success the log can still undo
// it all, for a caller whose later work fails. On failure everything is undone
// and the log is nil.
func Apply(ctx context.Context, f Floor, have, want []model.Object) (*Log, error) {
	l := &Log{floor: f}
	gone, missing := Diff(have, want)
	for _, objs := range slices.Backward(groups(gone)) {
		// What is deleted half way is made again by the undo: Create of an object
		// that exists is no failure of the floor.
		l.steps = append(l.steps, step{objs: objs})
		if err := f.Delete(ctx, objs); err != nil {
			return nil, errors.Join(err, l.Undo(ctx))
		}
	}
	for _, objs := range groups(missing) {
		if err := f.Create(ctx, objs); err != nil {
			return nil, errors.Join(err, l.Undo(ctx))
		}
		l.steps = append(l.steps, step{created: true, objs: objs})
	}
	return l, nil
}

// Remove is Apply for objects that are wanted no more and are gone from the
// records already: it goes on after a failure and undoes nothing. The error
// tells what may be left.
func Remove(ctx context.Context, f Floor, have, want []model.Object) error {
	gone, missing := Diff(have, want)
	var errs []error
	for _, objs := range slices.Backward(groups(gone)) {
		errs = append(errs, f.Delete(ctx, objs))
	}
	for _, objs := range groups(missing) {
		errs = append(errs, f.Create(ctx, objs))
	}
	return errors.Join(errs...)
}

// Undo takes back what has been done, the last step first. It is not stopped
// by the end of ctx.
func (l *Log) Undo(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	var errs []error
	for _, s := range slices.Backward(l.steps) {
		if s.created {
			errs = append(errs, l.floor.Delete(ctx, s.objs))
		} else {
			errs = append(errs, l.floor.Create(ctx, s.objs))
		}
	}
	l.steps = nil
	return errors.Join(errs...)
}

// Diff returns the objects of have that want lacks or has otherwise, and those
// of want that have lacks or has otherwise.
func Diff(have, want []model.Object) (gone, missing []model.Object) {
	old := make(map[string]model.Object, len(have))
	for _, o := range have {
		old[o.Key()] = o
	}
	for _, o := range want {
		key := o.Key()
		h, ok := old[key]
		switch {
		case !ok:
			missing = append(missing, o)
			continue
		case !model.Equal(h, o):
			missing = append(missing, o)
			gone = append(gone, h)
		}
		delete(old, key)
	}
	for _, o := range have {
		if _, ok := old[o.Key()]; ok {
			gone = append(gone, o)
		}
	}
	return gone, missing
}

// groups sorts objects into runs of one order.
func groups(objs []model.Object) [][]model.Object {
	objs = slices.Clone(objs)
	slices.SortStableFunc(objs, func(a, b model.Object) int { return int(a.Order()) - int(b.Order()) })
	var out [][]model.Object
	for i, o := range objs {
		if i == 0 || objs[i-1].Order() != o.Order() {
			out = append(out, nil)
		}
		out[len(out)-1] = append(out[len(out)-1], o)
	}
	return out
}
