package crash

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/internal/step"
)

// op is one operation on the base state.
type op struct {
	name string
	// setup is done beforehand, beside the base state; nil for nothing.
	setup func(w *world) error
	run   func(w *world) error
	// alters says that it changes what a container has that is recorded: killed amid it, the
	// container has neither what it had nor what it shall have.
	alters bool
	// still is what else holds as long as the operation has not been done; nil:
	// nothing.
	still func(w *world) error
}

func second[T any](_ T, err error) error { return err }

func ops() []op {
	ctx := context.Background()
	return []op{
		{name: "network-create", run: func(w *world) error { return second(w.createNetwork("green", 94, true)) }},
		{
			name:  "network-delete",
			setup: func(w *world) error { return second(w.network("green", 94, true)) },
			run:   deleteGreen,
		},
		{name: "endpoint-create", run: func(w *world) error { return second(w.endpoint("red", "fresh", "")) }},
		{name: "endpoint-delete", run: func(w *world) error { return w.ep("red", "spare").Delete(ctx, false) }},
		{name: "endpoint-force-delete", run: func(w *world) error { return w.ep("blue", "work").Delete(ctx, true) }},
		{name: "sandbox-create", run: func(w *world) error { return second(w.sandbox("new", publish(18100, tcp))) }},
		{
			name:  "join",
			setup: func(w *world) error { return second(w.sandbox("idle", nil)) },
			run:   func(w *world) error { return w.join("idle", "red", "spare", 0) },
		},
		{
			name:  "join-ports",
			setup: func(w *world) error { return second(w.sandbox("idle", publish(18100, tcp, udp, tcp))) },
			run:   func(w *world) error { return w.join("idle", "red", "spare", 0) },
		},
		{name: "join-moves-gateway", alters: true, run: func(w *world) error { return w.join("work", "red", "spare", 10) }},
		{name: "leave", run: func(w *world) error { return w.ep("blue", "work").Leave(ctx, w.sb("work")) }},
		{
			name: "leave-moves-gateway", alters: true,
			setup: func(w *world) error { return w.join("work", "red", "spare", 10) },
			run:   func(w *world) error { return w.ep("red", "spare").Leave(ctx, w.sb("work")) },
		},
		{name: "sandbox-delete", run: func(w *world) error { return w.sb("work").Delete(ctx) }},
		{name: "container-create", run: func(w *world) error {
			var attach []engine.AttachRequest
			for _, name := range []string{"blue", "red"} {
				n, err := w.e.NetworkByName(name)
				if err != nil {
					return err
				}
				attach = append(attach, engine.AttachRequest{Network: n, Endpoint: engine.EndpointRequest{Name: "new-" + name}})
			}
			return second(w.e.CreateContainer(ctx, sandboxRequest("new", publish(18100, tcp, udp, tcp)), attach))
		}},
		{name: "container-create-in-foreign", run: inForeign},
		{name: "sandbox-delete-in-foreign", setup: inForeign, run: func(w *world) error { return w.sb("given").Delete(ctx) }},
		{name: "rename", run: func(w *world) error { return w.sb("work").Rename(ctx, "renamed") }},
		{
			name: "set-key", alters: true,
			setup: func(w *world) error { return inWork(w, mark) },
			run:   func(w *world) error { return w.sb("work").SetKey(ctx, foreignNS) },
			still: func(w *world) error { return inWork(w, marked) },
		},
		{
			name: "set-key-again", alters: true,
			setup: func(w *world) error { return w.sb("work").SetKey(ctx, otherNS) },
			run:   func(w *world) error { return w.sb("work").SetKey(ctx, foreignNS) },
			still: func(w *world) error { return sameNamespace(w.sb("work").Record().Key, otherNS) },
		},
		{
			name: "set-key-external", alters: true,
			setup: func(w *world) error {
				req := sandboxRequest("ext", publish(18100, tcp))
				req.External = true
				if _, err := w.e.CreateSandbox(ctx, req); err != nil {
					return err
				}
				return w.join("ext", "red", "spare", 0)
			},
			run: func(w *world) error { return w.sb("ext").SetKey(ctx, foreignNS) },
		},
		{name: "refresh", alters: true, run: func(w *world) error {
			req := sandboxRequest("work", publish(18091, tcp, udp))
			req.Files.Extra = []model.ExtraHost{{Name: "other", Addr: "192.0.2.2"}}
			return w.sb("work").Refresh(ctx, req)
		}},
		{name: "start", run: func(w *world) error { return errors.Join(w.release(), w.open(false)) }},
		{name: "start-keep-alive", run: func(w *world) error { return errors.Join(w.release(), w.open(true)) }},
	}
}

// inForeign makes a container in a namespace of somebody else.
func inForeign(w *world) error {
	n, err := w.e.NetworkByName("red")
	if err != nil {
		return err
	}
	req := sandboxRequest("given", publish(18100, tcp))
	req.Path = foreignNS
	return second(w.e.CreateContainer(context.Background(), req, []engine.AttachRequest{{Network: n, Endpoint: engine.EndpointRequest{Name: "given"}}}))
}

// inWork runs f in the namespace of container work.
func inWork(w *world, f func() error) error {
	ns, err := netns.Open(nil, w.sb("work").Record().Key)
	if err != nil {
		return err
	}
	return errors.Join(ns.Do(f), ns.Close())
}

// user is an address that the user has given a container's loopback.
const user = "192.0.2.77/32"

func mark() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	addr, err := netlink.ParseAddr(user)
	if err != nil {
		return err
	}
	return netlink.AddrAdd(lo, addr)
}

func marked() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	addrs, err := netlink.AddrList(lo, netlink.FAMILY_V4)
	if err != nil {
		return err
	}
	for _, a := range addrs {
		if a.IPNet.String() == user {
			return nil
		}
	}
	return errors.New("what the user had in the namespace is gone")
}

func sameNamespace(a, b string) error {
	x, err := netns.Open(nil, a)
	if err != nil {
		return err
	}
	defer x.Close()
	y, err := netns.Open(nil, b)
	if err != nil {
		return err
	}
	defer y.Close()
	if !netns.Same(x, y) {
		return fmt.Errorf("%s and %s are not the same namespace", a, b)
	}
	return nil
}

func deleteGreen(w *world) error {
	n, err := w.e.NetworkByName("green")
	if err != nil {
		return err
	}
	return n.Delete(context.Background())
}

func opByName(name string) op {
	for _, o := range ops() {
		if o.name == name {
			return o
		}
	}
	panic("no such operation: " + name)
}

// answered is what a victim says when its operation has returned.
const answered = "answered\n"

// victim does an operation and is killed, at the step that stepsEnv says or at
// its end.
func victim(name string) int {
	if kind, ok := loads[name]; ok {
		return kind()
	}
	w, o := &world{}, opByName(name)
	err := w.open(true)
	if err == nil {
		err = w.base()
	}
	if err == nil && o.setup != nil {
		err = o.setup(w)
	}
	var steps *step.Counter
	if err == nil {
		steps, err = step.FromEnv(os.Getenv(stepsEnv))
	}
	if err == nil {
		w.armed.Store(steps)
		err = o.run(w)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "victim:", err)
		return 1
	}
	_, _ = os.Stdout.WriteString(answered)
	if err := w.release(); err != nil {
		fmt.Fprintln(os.Stderr, "victim:", err)
		return 1
	}
	_ = unix.Kill(os.Getpid(), unix.SIGKILL)
	select {}
}

// stepsEnv is what the victim's counter is made from once the operation begins.
const stepsEnv = "LIBNETWORK_CRASH_STEPS"
