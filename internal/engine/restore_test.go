package engine_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/libnetwork/libnetwork/internal/drivers/bridge"
	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/internal/engine/enginetest"
	"github.com/libnetwork/libnetwork/internal/hostport"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/types"
)

// site is an engine that can be started again, with an account of ports that can be
// asked.
type site struct {
	data, run string
	kernel    engine.Kernel
	e         *engine.Engine
	space     *hostport.Space
	log       bytes.Buffer // of the last start
}

func newSite(t *testing.T, k engine.Kernel) *site {
	t.Helper()
	for _, v6 := range []bool{false, true} { // a start that finds it off says so
		if err := k.Forward(t.Context(), v6, true, model.BeforeForwarding{}); err != nil {
			t.Fatal(err)
		}
	}
	s := &site{data: filepath.Join(t.TempDir(), "data"), run: filepath.Join(t.TempDir(), "run"), kernel: k}
	s.start(t)
	t.Cleanup(func() { _ = s.e.Close() })
	return s
}

func (s *site) start(t *testing.T) {
	t.Helper()
	if s.e != nil {
		if err := s.e.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s.space = hostport.NewSpace(32768, 60999)
	s.log.Reset()
	var err error
	s.e, err = engine.Open(t.Context(), engine.Config{
		DataDir: s.data, RunDir: s.run, BootID: "boot", Kernel: s.kernel, KeepAlive: true, Ports: s.space,
		Drivers: []model.Driver{bridge.Driver{Group: enginetest.Group}}, IPAM: managers(t),
		ResolvConf: filepath.Join(s.data, "none"), Logger: slog.New(slog.NewTextHandler(&s.log, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (s *site) network(t *testing.T, name string, options map[string]string) *engine.Network {
	t.Helper()
	return need(s.e.CreateNetwork(t.Context(), engine.NetworkRequest{Driver: bridge.Type, Name: name, Options: options}))(t)
}

func (s *site) dualNetwork(t *testing.T, name string) *engine.Network {
	t.Helper()
	return need(s.e.CreateNetwork(t.Context(), engine.NetworkRequest{
		Driver: bridge.Type, Name: name, IPv6: true, IPAM: model.IPAM{Conf6: []model.IPAMConf{{Pool: "fd00:9::/64"}}},
	}))(t)
}

func (s *site) container(t *testing.T, name string, n *engine.Network, publish ...model.Publish) *engine.Sandbox {
	t.Helper()
	return need(s.e.CreateContainer(t.Context(), engine.SandboxRequest{ContainerID: name, Publish: publish},
		[]engine.AttachRequest{{Network: n, Endpoint: engine.EndpointRequest{Name: name}}}))(t)
}

// join joins a container to a network.
func (s *site) join(t *testing.T, container, network string) {
	t.Helper()
	n := need(s.e.NetworkByName(network))(t)
	ep := need(n.CreateEndpoint(t.Context(), engine.EndpointRequest{Name: container + "-" + network}))(t)
	if err := ep.Join(t.Context(), need(s.e.SandboxByContainer(container))(t), engine.JoinRequest{}); err != nil {
		t.Fatal(err)
	}
}

// leave takes a container off a network.
func (s *site) leave(t *testing.T, container, network string) {
	t.Helper()
	sb := need(s.e.SandboxByContainer(container))(t)
	for _, ep := range sb.Endpoints() {
		if ep.Network().Name() == network {
			if err := ep.Leave(t.Context(), sb); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// published are the ports of a container, "host first-last how".
func (s *site) published(t *testing.T, container string) []engine.PublishedPort {
	t.Helper()
	return need(s.e.SandboxByContainer(container))(t).Published()
}

func samePorts(t *testing.T, when string, want, got []engine.PublishedPort) {
	t.Helper()
	opts := []cmp.Option{cmpopts.EquateComparable(netip.Addr{}), cmpopts.IgnoreFields(model.Port{}, "Addr")}
	if diff := cmp.Diff(want, got, opts...); diff != "" {
		t.Errorf("%s (-want +got):\n%s", when, diff)
	}
}

func wish(host string, first, last, port uint16) model.Publish {
	p := model.Publish{Proto: uint8(types.TCP), First: first, Last: last, Port: port, PortLast: port}
	if host != "" {
		p.Host = netip.MustParseAddr(host)
	}
	return p
}

// Several wishes may lead to one port of the container. Each has after a start what it
// had before: what it keeps and lets go of later shows that.
func TestRestoreWishesOfOnePort(t *testing.T) {
	span := wish("", 9000, 9003, 80)
	span.PortLast = 83
	for _, tt := range []struct {
		name    string
		binding string
		wishes  []model.Publish
	}{
		{"all addresses and one", "", []model.Publish{wish("", 8080, 8080, 80), wish("127.0.0.1", 8080, 8080, 80)}},
		{"all addresses and ::1", "", []model.Publish{wish("", 8080, 8080, 80), wish("::1", 8080, 8080, 80)}},
		{"one address before all", "", []model.Publish{wish("127.0.0.1", 8080, 8080, 80), wish("", 8080, 8080, 80)}},
		{"a choice and one of its ports elsewhere", "", []model.Publish{wish("", 7006, 7010, 80), wish("127.0.0.1", 7008, 7008, 80)}},
		{"a free port and one elsewhere", "", []model.Publish{wish("", 0, 0, 80), wish("127.0.0.1", 8080, 8080, 80)}},
		{"a range and its first port", "", []model.Publish{span, wish("127.0.0.1", 9000, 9000, 80), wish("127.0.0.1", 0, 0, 80)}},
		{"free ports", "", []model.Publish{wish("", 0, 0, 80), wish("", 0, 0, 80), wish("", 0, 0, 80)}},
		{"the network's address and the same by name", "127.0.0.1", []model.Publish{wish("127.0.0.1", 0, 0, 80), wish("", 9000, 9000, 80)}},
		{"the same by name and the network's address", "127.0.0.1", []model.Publish{wish("", 9000, 9000, 80), wish("127.0.0.1", 0, 0, 80)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t, &enginetest.Kernel{})
			options := map[string]string{}
			if tt.binding != "" {
				options["com.docker.network.bridge.host_binding_ipv4"] = tt.binding
			}
			s.network(t, "y", nil)
			s.container(t, "c1", s.network(t, "x", options), tt.wishes...)
			want := s.published(t, "c1")
			s.start(t)
			if s.log.Len() > 0 {
				t.Errorf("the start says:\n%s", &s.log)
			}
			samePorts(t, "after the start", want, s.published(t, "c1"))
			s.join(t, "c1", "y")
			samePorts(t, "after a join", want, s.published(t, "c1"))
			s.leave(t, "c1", "y")
			s.leave(t, "c1", "x")
			s.join(t, "c1", "x")
			samePorts(t, "after it left and joined", want, s.published(t, "c1"))
			if err := need(s.e.SandboxByContainer("c1"))(t).Delete(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, p := range want {
				if owner, ok := s.space.Owner(p.Port.Proto, p.Port.Host, p.Port.First); ok {
					t.Errorf("%s is still allocated to %s", p.Port.Key(), owner)
				}
			}
			if slices.ContainsFunc(want, func(p engine.PublishedPort) bool { return p.How == hostport.Checked }) {
				t.Errorf("not all were held: %+v", want)
			}
		})
	}
}

// keeper gives out as many sockets as it is told, and knows addresses that the host
// has not.
type keeper struct {
	*enginetest.Kernel
	limit int
	away  netip.Addr
	fails error // of what is resumed

	mu   sync.Mutex // guards the following
	held map[string]bool
}

func (k *keeper) Hold(_ context.Context, p model.Port) (hostport.Kept, error) {
	if p.Host == k.away {
		return nil, types.BadRequestErrorf("%s: this host does not have the address", p.Key())
	}
	return k.keep(p, false), nil
}

func (k *keeper) Resume(_ context.Context, p model.Port) (hostport.Kept, error) {
	if k.fails != nil {
		return nil, k.fails
	}
	return k.keep(p, p.Forwarded()), nil
}

func (k *keeper) keep(p model.Port, must bool) hostport.Kept {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.held == nil {
		k.held = make(map[string]bool)
	}
	if len(k.held) >= k.limit && !must {
		return free(hostport.Checked)
	}
	k.held[p.Key()] = true
	return &keptPort{k, p.Key()}
}

type free hostport.How

func (free) Close() error        { return nil }
func (f free) How() hostport.How { return hostport.How(f) }

type keptPort struct {
	k   *keeper
	key string
}

func (p *keptPort) How() hostport.How { return hostport.Held }

func (p *keptPort) Close() error {
	p.k.mu.Lock()
	defer p.k.mu.Unlock()
	delete(p.k.held, p.key)
	return nil
}

// A port is held after a start also where the host gets its address later. Of one that
// cannot be held for another reason than that somebody has it, nobody says so.
func TestRestoreOnAnAddressThatIsAway(t *testing.T) {
	for _, host := range []string{"192.0.2.1", "2001:db8::1"} {
		t.Run(host, func(t *testing.T) {
			k := &keeper{Kernel: &enginetest.Kernel{}, limit: 9}
			s := newSite(t, k)
			n := s.network(t, "x", nil)
			s.container(t, "c1", n, wish(host, 8080, 8080, 80))
			want := s.published(t, "c1")
			k.away = netip.MustParseAddr(host)
			s.start(t)
			if s.log.Len() > 0 {
				t.Errorf("the start says:\n%s", &s.log)
			}
			samePorts(t, "after the start", want, s.published(t, "c1"))
			_, err := s.e.CreateContainer(t.Context(), engine.SandboxRequest{ContainerID: "c2", Publish: []model.Publish{wish(host, 8081, 8081, 80)}},
				[]engine.AttachRequest{{Network: need(s.e.NetworkByName("x"))(t), Endpoint: engine.EndpointRequest{Name: "c2"}}})
			if !errors.As(err, new(types.BadRequestError)) {
				t.Errorf("a new publication: %v", err)
			}
			k.fails = errors.New("too many open files")
			s.start(t)
			if !strings.Contains(s.log.String(), k.fails.Error()) {
				t.Errorf("the log does not say why a port is not held:\n%s", &s.log)
			}
			if got := s.published(t, "c1"); len(got) != 1 || got[0].How != hostport.Checked {
				t.Errorf("published are %+v", got)
			}
		})
	}
}

func hows(ports []engine.PublishedPort) string {
	var out []string
	for _, p := range ports {
		out = append(out, netip.AddrPortFrom(p.Port.Host, p.Port.First).String()+" "+string(p.How))
	}
	return strings.Join(out, ", ")
}

// There may be fewer sockets than ports. Those come first that the process serves, and
// what nothing but the process can serve always has one.
func TestServedPortsHaveSockets(t *testing.T) {
	check := func(t *testing.T, s *site, when, want string) {
		t.Helper()
		if got := hows(s.published(t, "c1")); got != want {
			t.Errorf("%s published are %s, want %s", when, got, want)
		}
	}
	emptied := func(t *testing.T, s *site, k *keeper) {
		t.Helper()
		if err := need(s.e.SandboxByContainer("c1"))(t).Delete(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(k.held) > 0 {
			t.Errorf("still held: %v", k.held)
		}
	}
	t.Run("at a start with a lower limit", func(t *testing.T) {
		k := &keeper{Kernel: &enginetest.Kernel{}, limit: 9}
		s := newSite(t, k)
		s.container(t, "c1", s.network(t, "x", nil),
			wish("127.0.0.1", 8080, 8080, 80), wish("127.0.0.1", 8081, 8081, 80), wish("2001:db8::1", 8082, 8082, 80), wish("::1", 8083, 8083, 80))
		k.limit = 1
		s.start(t)
		check(t, s, "after the start", "127.0.0.1:8080 checked, 127.0.0.1:8081 checked, [2001:db8::1]:8082 forwarded, [::1]:8083 forwarded")
		emptied(t, s, k)
	})
	t.Run("at a start beside a rule", func(t *testing.T) {
		k := &keeper{Kernel: &enginetest.Kernel{}, limit: 1}
		s := newSite(t, k)
		s.container(t, "c1", s.dualNetwork(t, "x"), wish("127.0.0.1", 8080, 8080, 80), wish("", 8081, 8081, 80))
		s.start(t)
		check(t, s, "after the start", "127.0.0.1:8080 checked, 0.0.0.0:8081 checked, [::]:8081 held")
		emptied(t, s, k)
	})
	t.Run("when the rule goes with its network", func(t *testing.T) {
		k := &keeper{Kernel: &enginetest.Kernel{}}
		s := newSite(t, k)
		s.network(t, "y", nil)
		s.container(t, "c1", s.dualNetwork(t, "x"), wish("2001:db8::1", 8080, 8080, 80))
		s.join(t, "c1", "y")
		check(t, s, "with a rule", "[2001:db8::1]:8080 checked")
		s.leave(t, "c1", "x")
		check(t, s, "without", "[2001:db8::1]:8080 forwarded")
		emptied(t, s, k)
	})
	t.Run("with the next change after a start at which another program had it", func(t *testing.T) {
		k := &keeper{Kernel: &enginetest.Kernel{}, limit: 9}
		s := newSite(t, k)
		s.network(t, "y", nil)
		s.container(t, "c1", s.network(t, "x", nil), wish("::1", 8080, 8080, 80))
		k.fails = types.ForbiddenErrorf("in use")
		s.start(t)
		s.join(t, "c1", "y")
		check(t, s, "after the start", "[::1]:8080 taken")
		k.fails = nil
		served := false
		k.Fail = func(op string, o model.Object) error {
			served = served || op == "create" && o.Order() == model.OrderForward
			return nil
		}
		s.leave(t, "c1", "y")
		check(t, s, "after a change", "[::1]:8080 forwarded")
		if !served {
			t.Error("nobody serves the port")
		}
		emptied(t, s, k)
	})
}

// New wishes may want other parts of what the sandbox has.
func TestRefreshOfPortsThatOverlap(t *testing.T) {
	span := func(first, last uint16) model.Publish {
		return model.Publish{Proto: uint8(types.TCP), First: first, Last: last, Port: first, PortLast: last}
	}
	for _, tt := range []struct {
		name     string
		from, to model.Publish
		want     string
	}{
		{"fewer of a range", span(19100, 19199), span(19100, 19150), "0.0.0.0:19100 held"},
		{"more of a range", span(19100, 19150), span(19050, 19199), "0.0.0.0:19050 held"},
		{"one of a range", span(19100, 19199), wish("", 19150, 19150, 80), "0.0.0.0:19150 held, [::]:19150 forwarded"},
		{"any of a range", span(19100, 19199), wish("", 19110, 19111, 80), "0.0.0.0:19110 held, [::]:19110 forwarded"},
		{"one of a choice", wish("", 19100, 19199, 80), wish("", 19100, 19100, 80), "0.0.0.0:19100 held, [::]:19100 forwarded"},
		{"one address of all", wish("", 19100, 19100, 80), wish("::", 19100, 19100, 80), "[::]:19100 forwarded"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := &keeper{Kernel: &enginetest.Kernel{}, limit: 9}
			s := newSite(t, k)
			x := s.network(t, "x", nil)
			sb := s.container(t, "c1", x, tt.from)
			s.container(t, "c2", x, wish("127.0.0.1", 19000, 19000, 80))
			before, held := s.published(t, "c1"), maps.Clone(k.held)
			err := sb.Refresh(t.Context(), engine.SandboxRequest{Publish: []model.Publish{tt.to, wish("127.0.0.1", 19000, 19000, 80)}})
			if !errors.As(err, new(types.ForbiddenError)) && !errors.As(err, new(hostport.ErrPortAlreadyAllocated)) {
				t.Fatalf("with a port of another container: %v", err)
			}
			samePorts(t, "after a failure", before, s.published(t, "c1"))
			if diff := cmp.Diff(held, k.held); diff != "" {
				t.Errorf("held after a failure (-want +got):\n%s", diff)
			}
			if err := sb.Refresh(t.Context(), engine.SandboxRequest{Publish: []model.Publish{tt.to}}); err != nil {
				t.Fatal(err)
			}
			if got := hows(s.published(t, "c1")); got != tt.want {
				t.Errorf("published are %s, want %s", got, tt.want)
			}
			taken := func() (n int) {
				for _, host := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
					for port := uint16(19000); port < 19300; port++ {
						if _, ok := s.space.Owner(uint8(types.TCP), host, port); ok {
							n++
						}
					}
				}
				return n
			}
			want := 0
			for _, p := range s.published(t, "c1") {
				want += int(p.Port.Last-p.Port.First) + 1
			}
			if got := taken(); got != want {
				t.Errorf("%d ports are taken, want %d", got, want)
			}
			if err := sb.Delete(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := taken(); got != 0 || len(k.held) != 1 {
				t.Errorf("%d ports are taken, held are %v", got, k.held)
			}
		})
	}
}
