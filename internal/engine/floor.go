package engine

import (
	"context"
	"errors"

	"github.com/libnetwork/libnetwork/internal/apply"
	"github.com/libnetwork/libnetwork/internal/model"
)

// floor is the kernel with the sandboxes' files beside it.
type floor struct {
	Kernel
	files files
}

func (e *Engine) floor() apply.Floor {
	return floor{Kernel: e.kernel, files: files{resolvConf: e.cfg.ResolvConf, steps: e.cfg.Steps}}
}

func isFile(o model.Order) bool { return o == model.OrderFiles || o == model.OrderEntry }

func (f floor) Create(ctx context.Context, objs []model.Object) error {
	if !isFile(objs[0].Order()) {
		return f.Kernel.Create(ctx, objs)
	}
	for i, o := range objs {
		if err := f.files.create(o); err != nil {
			return errors.Join(err, f.Delete(context.WithoutCancel(ctx), objs[:i]))
		}
	}
	return nil
}

func (f floor) Delete(ctx context.Context, objs []model.Object) error {
	if len(objs) == 0 {
		return nil
	}
	if !isFile(objs[0].Order()) {
		return f.Kernel.Delete(ctx, objs)
	}
	var errs []error
	for _, o := range objs {
		errs = append(errs, f.files.remove(o))
	}
	return errors.Join(errs...)
}
