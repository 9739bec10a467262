package engine_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/types"
)

// A Join is in the store when it returns, also when there is no namespace yet.
func TestWaitingSandbox(t *testing.T) {
	w := newWorld(t)
	w.populate(t)
	ctx := t.Context()
	ext := need(w.e.CreateSandbox(ctx, engine.SandboxRequest{ContainerID: "ext", External: true}))(t)
	b1 := w.endpoint(t, "b", "b1")
	if err := b1.Join(ctx, ext, engine.JoinRequest{Priority: 3, Aliases: map[string]string{"x": "b1"}}); err != nil {
		t.Fatal(err)
	}
	if err := w.e.Close(); err != nil {
		t.Fatal(err)
	}
	w.open(t)
	ext = need(w.e.SandboxByContainer("ext"))(t)
	veth := model.Veth{Host: "veth" + w.endpoint(t, "b", "b1").ID()[:11]}.Key()
	t.Run("PER-4a a Join before SetKey is there after a restart, and takes effect with SetKey", func(t *testing.T) {
		a := w.endpoint(t, "b", "b1").Record().Attached
		if a == nil || a.Sandbox != ext.ID() || a.Priority != 3 || a.Aliases["x"] != "b1" {
			t.Fatalf("the endpoint is attached as %+v", a)
		}
		if slices.Contains(w.k.Keys(), veth) {
			t.Error("there is a link before there is a namespace")
		}
		w.k.AddNamespace("/given")
		if err := w.e.SetKey(ctx, "ext", "/given"); err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(w.k.Keys(), veth) {
			t.Errorf("kernel holds %v", w.k.Keys())
		}
	})
	t.Run("EXT-3 a container without a sandbox is BadRequest", func(t *testing.T) {
		err := w.e.SetKey(ctx, "none", "/given")
		if !errors.As(err, new(types.BadRequestError)) || !strings.Contains(err.Error(), `no sandbox present for container "none"`) {
			t.Errorf("error is %v", err)
		}
	})
	t.Run("OSL-17 a namespace that another one has replaced is not held", func(t *testing.T) {
		w.k.AddNamespace("/next")
		if err := ext.SetKey(ctx, "/next"); err != nil {
			t.Fatal(err)
		}
		for _, key := range w.k.Keys() {
			if strings.Contains(key, "~") {
				t.Errorf("left behind: %s", key)
			}
		}
	})
}
