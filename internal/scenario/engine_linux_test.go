package scenario_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"

	"github.com/libnetwork/libnetwork/internal/engine"
	assemble "github.com/libnetwork/libnetwork/internal/host"
	"github.com/libnetwork/libnetwork/internal/netns"
)

// hostEngine is what the daemon has, which knows of ranges of ports; the library has none.
type hostEngine struct {
	*engine.Engine
	h       *host
	opts    assemble.Options
	release func() error
}

// engine opens one as the daemon does. What it has at the end of the test is removed.
func (h *host) engine(opts assemble.Options) *hostEngine {
	h.t.Helper()
	opts.DataDir, opts.RunDir, opts.KeepAlive, opts.SmallPools = h.data, h.run, true, true
	opts.Logger = slog.New(slog.DiscardHandler)
	e := &hostEngine{h: h, opts: opts}
	e.open()
	h.t.Cleanup(e.clear)
	return e
}

// open is also for one that was closed.
func (e *hostEngine) open() {
	e.h.t.Helper()
	opened, release, err := assemble.Open(context.Background(), e.opts)
	if err != nil {
		e.h.t.Fatal(err)
	}
	e.Engine, e.release = opened, release
}

// close leaves all as it is, for others to change.
func (e *hostEngine) close() {
	e.h.t.Helper()
	if err := e.release(); err != nil {
		e.h.t.Fatal(err)
	}
}

func (e *hostEngine) clear() {
	var errs []error
	for _, s := range e.Sandboxes() {
		errs = append(errs, s.Delete(context.Background()))
	}
	for _, n := range e.Networks() {
		errs = append(errs, n.Delete(context.Background()))
	}
	if err := errors.Join(append(errs, e.release(), netns.RemoveDir(nil, filepath.Join(e.h.run, "netns")))...); err != nil {
		e.h.t.Error(err)
	}
}
