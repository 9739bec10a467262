package engine

import (
	"context"
	"errors"

	"github.com/libnetwork/libnetwork/internal/apply"
	"github.com/libnetwork/libnetwork/internal/model"
)

// floor is the kernel with the sandboxes' files and the outside drivers beside it.
type floor struct {
	Kernel
	files files
	e     *Engine
}

func (e *Engine) floor() apply.Floor {
	return floor{Kernel: e.kernel, files: files{resolvConf: e.cfg.ResolvConf, steps: e.cfg.Steps, log: e.log}, e: e}
}

func isFile(o model.Order) bool { return o == model.OrderFiles || o == model.OrderEntry }

func isDriver(o model.Order) bool { return o == model.OrderDriver || o == model.OrderConnectivity }

func (f floor) Create(ctx context.Context, objs []model.Object) error {
	create := f.files.create
	switch order := objs[0].Order(); {
	case isDriver(order):
		create = f.e.createDriver
	case !isFile(order):
		return f.Kernel.Create(ctx, objs)
	}
	for i, o := range objs {
		if err := create(o); err != nil {
			return errors.Join(err, f.Delete(context.WithoutCancel(ctx), objs[:i]))
		}
	}
	return nil
}

func (f floor) Delete(ctx context.Context, objs []model.Object) error {
	if len(objs) == 0 {
		return nil
	}
	remove := f.files.remove
	switch order := objs[0].Order(); {
	case isDriver(order):
		remove = f.e.deleteDriver
	case !isFile(order):
		return f.Kernel.Delete(ctx, objs)
	}
	var errs []error
	for _, o := range objs {
		errs = append(errs, remove(o))
	}
	return errors.Join(errs...)
}
