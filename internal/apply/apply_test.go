package apply_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/internal/apply"
	"github.com/libnetwork/libnetwork/internal/model"
)

// thing is an object whose order and content a test chooses.
type thing struct {
	order   model.Order
	name    string
	content int
}

func (t thing) Key() string        { return t.name }
func (t thing) Order() model.Order { return t.order }

// fakeFloor is a kernel of things, which fails at the n-th call.
type fakeFloor struct {
	have   map[string]model.Object
	failAt int
	calls  []string
}

var errFloor = errors.New("floor")

func newFloor(objs ...model.Object) *fakeFloor {
	f := &fakeFloor{have: map[string]model.Object{}}
	for _, o := range objs {
		f.have[o.Key()] = o
	}
	return f
}

func (f *fakeFloor) call(what string, objs []model.Object) error {
	for _, o := range objs {
		what += " " + o.Key()
	}
	f.calls = append(f.calls, what)
	if len(f.calls) == f.failAt {
		return fmt.Errorf("%s: %w", what, errFloor)
	}
	return nil
}

func (f *fakeFloor) Create(_ context.Context, objs []model.Object) error {
	if err := f.call("create", objs); err != nil {
		return err
	}
	for _, o := range objs {
		f.have[o.Key()] = o
	}
	return nil
}

func (f *fakeFloor) Delete(_ context.Context, objs []model.Object) error {
	if err := f.call("delete", objs); err != nil {
		return err
	}
	for _, o := range objs {
		delete(f.have, o.Key())
	}
	return nil
}

var (
	netnsA  = thing{order: model.OrderNamespace, name: "netns a"}
	vethA   = thing{order: model.OrderVeth, name: "veth a"}
	vethA2  = thing{order: model.OrderVeth, name: "veth a", content: 2}
	vethB   = thing{order: model.OrderVeth, name: "veth b"}
	rulesA  = thing{order: model.OrderFirewall, name: "rules a"}
	bridgeA = thing{order: model.OrderBridge, name: "bridge a"}
)

func TestApplyOrder(t *testing.T) {
	for _, tt := range []struct {
		name       string
		have, want []model.Object
		calls      []string
	}{
		{
			"equal states write nothing",
			[]model.Object{netnsA, vethA},
			[]model.Object{vethA, netnsA},
			nil,
		},
		{
			"created in order, one call a kind", nil,
			[]model.Object{vethA, netnsA, vethB, bridgeA, rulesA},
			[]string{"create rules a", "create bridge a", "create netns a", "create veth a veth b"},
		},
		{
			"deleted in reverse order",
			[]model.Object{rulesA, bridgeA, netnsA, vethA},
			nil,
			[]string{"delete veth a", "delete netns a", "delete bridge a", "delete rules a"},
		},
		{
			"a change is a deletion and a creation",
			[]model.Object{netnsA, vethA},
			[]model.Object{netnsA, vethA2},
			[]string{"delete veth a", "create veth a"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFloor(tt.have...)
			if _, err := apply.Apply(t.Context(), f, tt.have, tt.want); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.calls, f.calls); d != "" {
				t.Errorf("calls (-want +got)\n%s", d)
			}
			want := newFloor(tt.want...).have
			if !maps.Equal(want, f.have) {
				t.Errorf("kernel holds %v, want %v", f.have, want)
			}
		})
	}
}

// A failure at any call leaves the kernel as it was.
func TestApplyUndo(t *testing.T) {
	have := []model.Object{netnsA, vethA, bridgeA}
	want := []model.Object{rulesA, vethA2, vethB, bridgeA}
	total := newFloor(have...)
	if _, err := apply.Apply(t.Context(), total, have, want); err != nil {
		t.Fatal(err)
	}
	for n := range len(total.calls) {
		t.Run(fmt.Sprintf("call %d fails", n+1), func(t *testing.T) {
			f := newFloor(have...)
			f.failAt = n + 1
			if _, err := apply.Apply(t.Context(), f, have, want); !errors.Is(err, errFloor) {
				t.Fatalf("error %v, want the floor's", err)
			}
			if before := newFloor(have...).have; !maps.Equal(before, f.have) {
				t.Errorf("kernel holds %v, want %v", slices.Collect(maps.Keys(f.have)), slices.Collect(maps.Keys(before)))
			}
		})
	}
}

// The caller may take back what has succeeded.
func TestLogUndo(t *testing.T) {
	have, want := []model.Object{vethA}, []model.Object{vethA2, rulesA}
	f := newFloor(have...)
	l, err := apply.Apply(t.Context(), f, have, want)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Undo(ctx); err != nil {
		t.Fatalf("undo after the end of the caller's context: %v", err)
	}
	if before := newFloor(have...).have; !maps.Equal(before, f.have) {
		t.Errorf("kernel holds %v, want %v", f.have, before)
	}
}

// Remove goes on where Apply gives up.
func TestRemove(t *testing.T) {
	f := newFloor(netnsA, vethA, rulesA)
	f.failAt = 1
	err := apply.Remove(t.Context(), f, []model.Object{netnsA, vethA, rulesA}, nil)
	if !errors.Is(err, errFloor) {
		t.Fatalf("error %v, want the floor's", err)
	}
	if want := []string{"veth a"}; !slices.Equal(slices.Collect(maps.Keys(f.have)), want) {
		t.Errorf("left %v, want %v", f.have, want)
	}
}
