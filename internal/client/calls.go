package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"net/http"
	"net/url"

	"github.com/libnetwork/libnetwork/internal/api"
	"github.com/libnetwork/libnetwork/types"
)

// CreateNetwork makes a network.
func (c *Client) CreateNetwork(ctx context.Context, req api.NetworkCreate) (n api.Network, err error) {
	return n, c.do(ctx, http.MethodPost, "/networks", req, &n)
}

// Networks lists all networks in the order of their creation.
func (c *Client) Networks(ctx context.Context) (list []api.Network, err error) {
	return list, c.do(ctx, http.MethodGet, "/networks", nil, &list)
}

// Network returns a network by its name, its id or the beginning of one.
func (c *Client) Network(ctx context.Context, ref string) (n api.Network, err error) {
	if ref == "" {
		return n, types.BadRequestErrorf("a network without a name")
	}
	return n, c.do(ctx, http.MethodGet, path("networks", ref), nil, &n)
}

// DeleteNetwork removes a network that nothing is connected to.
func (c *Client) DeleteNetwork(ctx context.Context, ref string) error {
	if ref == "" {
		return types.BadRequestErrorf("a network without a name")
	}
	return c.do(ctx, http.MethodDelete, path("networks", ref), nil, nil)
}

// PruneNetworks removes all networks that nothing is connected to.
func (c *Client) PruneNetworks(ctx context.Context) (p api.Pruned, err error) {
	return p, c.do(ctx, http.MethodPost, "/networks/prune", nil, &p)
}

// CreateContainer makes the network of a container.
func (c *Client) CreateContainer(ctx context.Context, req api.ContainerCreate) (k api.Container, err error) {
	return k, c.do(ctx, http.MethodPost, "/containers", req, &k)
}

// Containers lists all containers in the order of their creation.
func (c *Client) Containers(ctx context.Context) (list []api.Container, err error) {
	return list, c.do(ctx, http.MethodGet, "/containers", nil, &list)
}

// Container returns a container by its name, the id of its sandbox or the
// beginning of an id.
func (c *Client) Container(ctx context.Context, ref string) (k api.Container, err error) {
	if ref == "" {
		return k, types.BadRequestErrorf("a container without a name")
	}
	return k, c.do(ctx, http.MethodGet, path("containers", ref), nil, &k)
}

// DeleteContainer takes a container off its networks and removes what was made
// for it.
func (c *Client) DeleteContainer(ctx context.Context, ref string) error {
	if ref == "" {
		return types.BadRequestErrorf("a container without a name")
	}
	return c.do(ctx, http.MethodDelete, path("containers", ref), nil, nil)
}

// Connect connects a container to one more network.
func (c *Client) Connect(ctx context.Context, container string, a api.Attachment) (k api.Container, err error) {
	if container == "" {
		return k, types.BadRequestErrorf("a container without a name")
	}
	return k, c.do(ctx, http.MethodPost, path("containers", container, "connect"), a, &k)
}

// Disconnect takes a container off a network.
func (c *Client) Disconnect(ctx context.Context, container, network string) (k api.Container, err error) {
	if container == "" {
		return k, types.BadRequestErrorf("a container without a name")
	}
	req := api.ContainerDisconnect{Network: network}
	return k, c.do(ctx, http.MethodPost, path("containers", container, "disconnect"), req, &k)
}

// Pools lists the address pools and how full they are, by manager and id.
func (c *Client) Pools(ctx context.Context) (list []api.Pool, err error) {
	return list, c.do(ctx, http.MethodGet, "/ipam/pools", nil, &list)
}

// Audit compares the addresses that are allocated with those that are owned.
func (c *Client) Audit(ctx context.Context) (a api.Audit, err error) {
	return a, c.do(ctx, http.MethodGet, "/ipam/audit", nil, &a)
}

// Exposed lists who can reach which ports of containers, by container.
func (c *Client) Exposed(ctx context.Context) (list []api.Exposed, err error) {
	return list, c.do(ctx, http.MethodGet, "/exposed", nil, &list)
}

// Version tells what the daemon is.
func (c *Client) Version(ctx context.Context) (v api.Version, err error) {
	return v, c.do(ctx, http.MethodGet, "/version", nil, &v)
}

// Health asks the daemon whether it works.
func (c *Client) Health(ctx context.Context) (h api.Health, err error) {
	return h, c.do(ctx, http.MethodGet, "/healthz", nil, &h)
}

// Events subscribes to events: what happens after it has returned is in the
// sequence, if it is asked for. The sequence must be used once; it ends with ctx,
// at the end of the time that is asked for, and with an error when the daemon ends
// it.
func (c *Client) Events(ctx context.Context, q api.EventQuery) (iter.Seq2[api.Event, error], error) {
	values := url.Values{}
	for name, v := range map[string]string{"since": q.Since, "until": q.Until} {
		if v != "" {
			values.Set(name, v)
		}
	}
	if len(q.Filters) > 0 {
		text, err := json.Marshal(q.Filters)
		if err != nil {
			return nil, types.InternalErrorf("encode filters: %w", err)
		}
		values.Set("filters", string(text))
	}
	resp, err := c.send(ctx, http.MethodGet, "/events?"+values.Encode(), nil)
	if err != nil {
		return nil, err
	}
	return func(yield func(api.Event, error) bool) {
		defer resp.Body.Close() //nolint:errcheck // read only
		d := json.NewDecoder(resp.Body)
		for {
			var line struct {
				api.Event
				api.Error
			}
			err := d.Decode(&line)
			switch {
			case err != nil && ctx.Err() != nil:
				return
			case errors.Is(err, io.EOF) && q.Until != "":
				return
			case errors.Is(err, io.EOF):
				err = types.NoServiceErrorf("the daemon at %s has ended the events", c.host)
			case err != nil:
				err = c.transportError(ctx, err)
			case line.Message != "":
				err = line.Err()
			}
			if !yield(line.Event, err) || err != nil {
				return
			}
		}
	}, nil
}
