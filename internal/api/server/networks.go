package server

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/netip"

	"github.com/libnetwork/libnetwork/internal/api"
	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/types"
)

func (s *server) createNetwork(r *http.Request, req *api.NetworkCreate) (answer, error) {
	if err := req.Check(); err != nil {
		return answer{}, err
	}
	n, err := s.e.CreateNetwork(r.Context(), networkRequest(req))
	if err != nil {
		return answer{}, err
	}
	return answer{http.StatusCreated, viewNetwork(n)}, nil
}

// networkRequest turns a checked request into the engine's.
func networkRequest(req *api.NetworkCreate) engine.NetworkRequest {
	out := engine.NetworkRequest{
		Driver: req.Driver, Name: req.Name, IPv6: req.IPv6, NoIPv4: req.NoIPv4, Internal: req.Internal,
		Options: maps.Clone(req.Options), Labels: maps.Clone(req.Labels),
		IPAM: model.IPAM{Driver: req.IPAM.Driver, Options: maps.Clone(req.IPAM.Options)},
	}
	if out.Driver == "" {
		out.Driver = api.BridgeDriver
	}
	for _, sub := range req.Subnets {
		conf := &out.IPAM.Conf4
		if netip.MustParsePrefix(sub.Subnet).Addr().Is6() {
			conf, out.IPv6 = &out.IPAM.Conf6, true
		}
		*conf = append(*conf, model.IPAMConf{Pool: sub.Subnet, Sub: sub.IPRange, Gateway: sub.Gateway, Aux: maps.Clone(sub.Aux)})
	}
	if out.IPv6 && len(out.IPAM.Conf6) == 0 {
		// One of the address manager's choice.
		out.IPAM.Conf6 = []model.IPAMConf{{}}
	}
	return out
}

func (s *server) listNetworks(*http.Request) (answer, error) {
	list := []api.Network{}
	for _, n := range s.e.Networks() {
		list = append(list, viewNetwork(n))
	}
	return ok(list)
}

func (s *server) getNetwork(r *http.Request) (answer, error) {
	n, err := s.network(r.PathValue("id"))
	if err != nil {
		return answer{}, err
	}
	return ok(viewNetwork(n))
}

func (s *server) deleteNetwork(r *http.Request) (answer, error) {
	n, err := s.network(r.PathValue("id"))
	if err != nil {
		return answer{}, err
	}
	if err := n.Delete(r.Context()); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusNoContent}, nil
}

// pruneNetworks removes the networks that nothing is connected to. The ones that
// stay for ever, and what gets an endpoint meanwhile, are passed over.
func (s *server) pruneNetworks(r *http.Request) (answer, error) {
	pruned := api.Pruned{Networks: []api.NetworkRef{}}
	var errs []error
	for _, n := range s.e.Networks() {
		if _, stays := api.Reserved(n.Name()); stays || len(n.Endpoints()) > 0 {
			continue
		}
		switch err := n.Delete(r.Context()); {
		case err == nil:
			pruned.Networks = append(pruned.Networks, api.NetworkRef{ID: n.ID(), Name: n.Name()})
		case !isForbidden(err) && !isNotFound(err):
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return answer{}, err
	}
	return ok(pruned)
}

func isForbidden(err error) bool { return errors.As(err, new(types.ForbiddenError)) }
func isNotFound(err error) bool  { return errors.As(err, new(types.NotFoundError)) }

// common are the networks that the daemon makes when they are first used.
var common = map[string]engine.NetworkRequest{
	api.DefaultNetwork: {
		Name: api.DefaultNetwork, Driver: api.BridgeDriver,
		Options: map[string]string{"com.docker.network.bridge.name": api.DefaultBridge},
	},
	api.HostNetwork: {Name: api.HostNetwork, Driver: api.HostDriver},
	api.NoNetwork:   {Name: api.NoNetwork, Driver: api.NullDriver},
}

// commonTries is how often a first use is tried when the network comes and goes
// at the same time.
const commonTries = 8

// use finds a network for a container, and makes it if it is one of the common
// ones. made says that this call made it.
func (s *server) use(ctx context.Context, ref string) (n *engine.Network, made bool, err error) {
	for range commonTries {
		n, err = s.network(ref)
		req, isCommon := common[ref]
		if !isCommon || !isNotFound(err) {
			return n, false, err
		}
		req.Options = maps.Clone(req.Options)
		n, err = s.e.CreateNetwork(ctx, req)
		if err == nil {
			return n, true, nil
		}
		if !isForbidden(err) {
			return nil, false, err
		}
		if _, again := s.network(ref); isNotFound(again) && !errors.As(err, new(engine.NetworkNameError)) {
			return nil, false, err
		}
		// Another first use was quicker.
	}
	return nil, false, err
}
