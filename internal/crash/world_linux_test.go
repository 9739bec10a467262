package crash

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/internal/host"
	"github.com/libnetwork/libnetwork/internal/kernel"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/internal/step"
)

const (
	dataDir = "/var/lib/crash"
	runDir  = "/run/crash"
	// foreignNS and otherNS are network namespaces that somebody else has made.
	foreignDir = "/run/foreign"
	foreignNS  = foreignDir + "/container"
	otherNS    = foreignDir + "/other"

	tcp, udp = 6, 17
)

// world is an engine with the names of what the tests make in it.
type world struct {
	e       *engine.Engine
	release func() error
	// armed counts, and may fail or kill, while it is set.
	armed atomic.Pointer[step.Counter]
}

// logger is silent but for those who look for the reason of a failure.
func logger() *slog.Logger {
	if os.Getenv("LIBNETWORK_CRASH_LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	return slog.New(slog.NewTextHandler(io.Discard, nil))
}

func (w *world) open(keep bool) error { return w.openWith(host.Options{KeepAlive: keep}) }

func (w *world) openWith(opts host.Options) (err error) {
	opts.Steps = step.New(func(_ int, name string) error { return w.armed.Load().Next(name) })
	opts.DataDir, opts.RunDir, opts.Forwarding, opts.Logger = dataDir, runDir, true, logger()
	opts.Firewall = kernel.Backend(os.Getenv(backendEnv))
	w.e, w.release, err = host.Open(context.Background(), opts)
	return err
}

// under runs f while every step goes to the counter.
func (w *world) under(c *step.Counter, f func() error) error {
	w.armed.Store(c)
	defer w.armed.Store(nil)
	return f()
}

// network returns a bridge network, which it makes if it is not there. Its
// number is part of its addresses.
func (w *world) network(name string, number int, v6 bool) (*engine.Network, error) {
	if n, err := w.e.NetworkByName(name); err == nil {
		return n, nil
	}
	return w.createNetwork(name, number, v6)
}

func (w *world) createNetwork(name string, number int, v6 bool) (*engine.Network, error) {
	req := engine.NetworkRequest{
		Driver: "bridge", Name: name, IPv6: v6,
		Options: map[string]string{"com.docker.network.bridge.name": "br-" + name},
		IPAM: model.IPAM{Conf4: []model.IPAMConf{{
			Pool: fmt.Sprintf("10.%d.0.0/24", number), Gateway: fmt.Sprintf("10.%d.0.1", number),
		}}},
	}
	if v6 {
		req.IPAM.Conf6 = []model.IPAMConf{{Pool: fmt.Sprintf("fd00:%d::/64", number), Gateway: fmt.Sprintf("fd00:%d::1", number)}}
	}
	return w.e.CreateNetwork(context.Background(), req)
}

func (w *world) endpoint(network, name, v4 string) (*engine.Endpoint, error) {
	n, err := w.e.NetworkByName(network)
	if err != nil {
		return nil, err
	}
	req := engine.EndpointRequest{Name: name}
	if v4 != "" {
		req.V4 = netip.MustParseAddr(v4)
	}
	return n.CreateEndpoint(context.Background(), req)
}

func (w *world) ep(network, name string) *engine.Endpoint {
	n, err := w.e.NetworkByName(network)
	if err != nil {
		panic(err)
	}
	ep, err := n.EndpointByName(name)
	if err != nil {
		panic(err)
	}
	return ep
}

func (w *world) sb(container string) *engine.Sandbox {
	s, err := w.e.SandboxByContainer(container)
	if err != nil {
		panic(err)
	}
	return s
}

// publish wishes for TCP ports of the host that lead to the container's 8080, and
// for others to its next ones.
func publish(first uint16, protos ...uint8) []model.Publish {
	var out []model.Publish
	for i, p := range protos {
		n := uint16(i)
		out = append(out, model.Publish{Proto: p, First: first + n, Last: first + n, Port: 8080 + n, PortLast: 8080 + n})
	}
	return out
}

func (w *world) sandbox(container string, ports []model.Publish) (*engine.Sandbox, error) {
	return w.e.CreateSandbox(context.Background(), sandboxRequest(container, ports))
}

func sandboxRequest(container string, ports []model.Publish) engine.SandboxRequest {
	return engine.SandboxRequest{
		ContainerID: container, Publish: ports,
		Files: model.Files{Hostname: container, Extra: []model.ExtraHost{{Name: "extra", Addr: "192.0.2.1"}}},
	}
}

func (w *world) join(container, network, ep string, priority int) error {
	return w.ep(network, ep).Join(context.Background(), w.sb(container), engine.JoinRequest{Priority: priority})
}

// base makes what every operation finds: two networks, a container on one of
// them that no operation touches, one that some do, and an endpoint without a
// container.
func (w *world) base() error {
	if _, err := w.network("blue", 91, false); err != nil {
		return err
	}
	if _, err := w.network("red", 92, true); err != nil {
		return err
	}
	for _, c := range []struct {
		name, v4 string
		ports    []model.Publish
	}{
		{"keep", "10.91.0.10", publish(18080, tcp)},
		{"work", "10.91.0.20", publish(18090, tcp, udp, tcp)},
	} {
		_, err1 := w.sandbox(c.name, c.ports)
		_, err2 := w.endpoint("blue", c.name, c.v4)
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		if err := w.join(c.name, "blue", c.name, 0); err != nil {
			return err
		}
	}
	_, err := w.endpoint("red", "spare", "10.92.0.30")
	return err
}

// clear deletes everything.
func (w *world) clear() error {
	ctx := context.Background()
	var errs []error
	for _, s := range w.e.Sandboxes() {
		errs = append(errs, s.Delete(ctx))
	}
	for _, n := range w.e.Networks() {
		for _, ep := range n.Endpoints() {
			errs = append(errs, ep.Delete(ctx, true))
		}
		errs = append(errs, n.Delete(ctx))
	}
	return errors.Join(errs...)
}

// state is what the engine says that there is, without what differs from run to
// run.
func (w *world) state() []string {
	var out []string
	for _, n := range w.e.Networks() {
		rec := n.Record()
		line := fmt.Sprintf("network %s %s %s", rec.Name, rec.Driver, rec.Bridge.Link)
		for _, p := range slices.Concat(rec.IPAM.Pools4, rec.IPAM.Pools6) {
			line += fmt.Sprintf(" %s via %s", p.Prefix, p.Gateway)
		}
		out = append(out, line)
		for _, ep := range n.Endpoints() {
			rec := ep.Record()
			line := fmt.Sprintf("endpoint %s on %s: %s %s %s", rec.Name, n.Name(), rec.V4, rec.V6, rec.MAC)
			if a := rec.Attached; a != nil {
				line += fmt.Sprintf(" in %s as %s priority %d", ep.Sandbox().ContainerID(), a.Name, a.Priority)
			}
			out = append(out, line)
		}
	}
	for _, s := range w.e.Sandboxes() {
		rec := s.Record()
		line := fmt.Sprintf("sandbox %s external %t %s resolver %t next %d files %+v",
			rec.ContainerID, rec.External, rec.Path, rec.Resolver != 0, rec.NextIf, rec.Files.Extra)
		for p := range rec.Published.All() {
			line += fmt.Sprintf("; %d %s:%d-%d to %s:%d", p.Proto, p.Host, p.First, p.Last, p.Addr, p.Port)
		}
		for _, ep := range s.Endpoints() {
			line += "; " + ep.Name()
		}
		out = append(out, line)
	}
	slices.Sort(out)
	return out
}

// networksOnly is what of a state survives a start without keep-alive.
func networksOnly(state []string) []string {
	return slices.DeleteFunc(slices.Clone(state), func(s string) bool { return !strings.HasPrefix(s, "network ") })
}

// makeForeign makes the namespaces of somebody else.
func makeForeign() error {
	if err := os.MkdirAll(foreignDir, 0o755); err != nil {
		return err
	}
	for _, path := range []string{foreignNS, otherNS} {
		ns, err := netns.Create(context.Background(), nil, path)
		if err != nil {
			return err
		}
		if err := ns.Close(); err != nil {
			return err
		}
	}
	return nil
}
