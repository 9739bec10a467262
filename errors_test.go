//go:build linux

package libnetwork_test

import (
	"fmt"
	"testing"

	"github.com/libnetwork/libnetwork"
	"github.com/libnetwork/libnetwork/config"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/types"
)

func TestErrorTypes(t *testing.T) {
	classes := []struct {
		err   error
		class string
	}{
		{libnetwork.ErrNoSuchNetwork("x"), "NotFound"},
		{libnetwork.ErrNoSuchEndpoint("x"), "NotFound"},
		{libnetwork.ErrInvalidNetworkDriver("x"), "BadRequest"},
		{libnetwork.ErrInvalidID("x"), "BadRequest"},
		{libnetwork.ErrInvalidName("x"), "BadRequest"},
		{&libnetwork.UnknownNetworkError{}, "NotFound"},
		{&libnetwork.ActiveEndpointsError{}, "Forbidden"},
		{&libnetwork.ActiveContainerError{}, "Forbidden"},
		{libnetwork.ErrInvalidJoin{}, "BadRequest"},
		{libnetwork.ErrNoContainer{}, "Maskable"},
		{libnetwork.NetworkTypeError("x"), "NotFound"},
		{libnetwork.NetworkNameError("x"), "Forbidden"},
		{&libnetwork.UnknownEndpointError{}, "NotFound"},
		{libnetwork.InvalidContainerIDError("x"), "BadRequest"},
	}
	t.Run("ERR-1 each type of error has one class, but for ErrInvalidConfigFile, which has none", func(t *testing.T) {
		for _, tt := range classes {
			t.Run(fmt.Sprintf("%T", tt.err), func(t *testing.T) {
				wantClass(t, tt.err, tt.class)
				if tt.err.Error() == "" {
					t.Error("it says nothing")
				}
			})
		}
		if got := classesOf(libnetwork.ErrInvalidConfigFile("x"), true); got != nil {
			t.Errorf("classes of ErrInvalidConfigFile are %v", got)
		}
	})
}

func TestReturnedErrors(t *testing.T) {
	c := newController(t)
	n := newNetwork(t, c, "web", subnet("10.1.0.0/30"))
	ep, sb := newEndpoint(t, n, "e"), newSandbox(t, c, "c1")
	ok(t, ep.Join(sb))
	t.Run("ERR-1 struct errors are returned as pointers, the others as values", func(t *testing.T) {
		wantErr[*libnetwork.ActiveEndpointsError](t, n.Delete(), "Forbidden")
		wantErr[*libnetwork.ActiveContainerError](t, ep.Delete(false), "Forbidden")
		wantErr[libnetwork.NetworkNameError](t, second(c.NewNetwork("bridge", "web")), "Forbidden")
		wantErr[libnetwork.ErrInvalidName](t, second(c.NewNetwork("bridge", " ")), "BadRequest")
		wantErr[libnetwork.ErrInvalidID](t, second(c.NetworkByID("")), "BadRequest")
		wantErr[libnetwork.ErrNoSuchNetwork](t, second(c.NetworkByName("x")), "NotFound")
		wantErr[libnetwork.ErrNoSuchEndpoint](t, second(n.EndpointByName("x")), "NotFound")
		gone := newNetwork(t, c, "gone")
		late := newEndpoint(t, gone, "e")
		ok(t, late.Delete(false))
		wantErr[*libnetwork.UnknownEndpointError](t, late.Delete(false), "NotFound")
		ok(t, gone.Delete())
		wantErr[*libnetwork.UnknownNetworkError](t, gone.Delete(), "NotFound")
	})
	t.Run("ERR-2 a network without a free address answers with NoService", func(t *testing.T) {
		wantClass(t, second(n.CreateEndpoint("more")), "NoService")
	})
	t.Run("ERR-2 a store for several hosts, which there is none of, is NotImplemented", func(t *testing.T) {
		d := newDirs(t)
		wantClass(t, second(libnetwork.New(d.options(config.OptionKVProvider("etcd"), config.OptionKVProviderURL("192.0.2.1:2379"))...)), "NotImplemented")
	})
}

func TestResolver(t *testing.T) {
	nstest.Require(t, nstest.Root) // for the address 127.0.0.11, in a namespace of the tests
	nstest.Leaks(t)
	r := libnetwork.NewResolver(nil)
	t.Run("DNS-12 the server's address and its options are fixed", func(t *testing.T) {
		diff(t, "server", "127.0.0.11", r.NameServer())
		diff(t, "options", []string{"ndots:0"}, r.ResolverOptions())
	})
	t.Run("DNS-12 Start without a set-up since the last Stop is a bad request", func(t *testing.T) {
		wantClass(t, r.Start(), "BadRequest")
		for range 2 {
			r.SetExtServers([]string{"192.0.2.1", "192.0.2.2", "x", "192.0.2.3", "192.0.2.4"})
			r.SetupFunc()()
			ok(t, r.Start())
			r.FlushExtServers()
			r.Stop()
			wantClass(t, r.Start(), "BadRequest")
		}
		r.SetupFunc()()
		r.Stop()
		r.Stop()
		wantClass(t, r.Start(), "BadRequest")
	})
}

func TestProviderUnchanged(t *testing.T) {
	c := newController(t)
	first := newNetwork(t, c, "a", subnet("10.1.0.0/24"))
	sb := newSandbox(t, c, "c1", libnetwork.OptionPortMapping([]types.PortBinding{{Proto: types.TCP, Port: 80, HostPort: 8080}}))
	ep := newEndpoint(t, first, "e")
	ok(t, ep.Join(sb))
	ns := inside(t, sb)
	u := serve(t, "10.1.0.1:53", "192.0.2.1", 0)
	t.Run("OSL-22 a join that does not change the provider leaves connections alone", func(t *testing.T) {
		conn := must(ns.Dial(t.Context(), "tcp", "10.1.0.1:53"))(t)
		defer conn.Close()
		ok(t, newEndpoint(t, newNetwork(t, c, "b", subnet("10.2.0.0/24")), "e").Join(sb))
		diff(t, "default routes", []string{"10.1.0.1 eth0"}, defaults(t, ns))
		q := query("outside.test.", "A")
		wire := must(q.Pack())(t)
		_ = must(conn.Write(append([]byte{byte(len(wire) >> 8), byte(len(wire))}, wire...)))(t)
		buf := make([]byte, 512)
		if n := must(conn.Read(buf))(t); n < 12 || len(u.asked()) != 1 {
			t.Errorf("%d bytes came back, the server was asked by %v", n, u.asked())
		}
	})
}
