// Package client speaks the daemon's HTTP API.
//
// A Client is safe for concurrent use and starts no goroutine of its own, beside
// those of net/http; Close ends its idle connections. Errors are of the class
// that the daemon gave them; a daemon that cannot be reached is an
// UnreachableError.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/libnetwork/libnetwork/internal/api"
	"github.com/libnetwork/libnetwork/types"
)

// HostEnv is the environment variable that names the daemon.
const HostEnv = "DNET_HOST"

// dialTimeout is how long a connection may take; what is asked over it may take
// as long as its context allows.
const dialTimeout = 5 * time.Second

// UnreachableError says that no daemon answers. Class NoService.
type UnreachableError struct {
	// Host is the address that was tried.
	Host string
	Err  error
}

func (e *UnreachableError) Error() string {
	hint := "is it running? start it with: sudo dnet daemon &, or: sudo systemctl start dnet"
	switch {
	case errors.Is(e.Err, os.ErrPermission):
		hint = "you may not use its socket: try sudo, or join the group dnet"
	case strings.HasPrefix(e.Host, "tcp://"):
		hint = "is it running there, with: dnet daemon -H " + e.Host + "?"
	}
	return fmt.Sprintf("the daemon at %s does not answer: %v; %s", e.Host, e.Err, hint)
}

// Unwrap returns what went wrong.
func (e *UnreachableError) Unwrap() error { return e.Err }

// NoService is the class of the error.
func (*UnreachableError) NoService() {}

// Client talks to one daemon.
type Client struct {
	host string
	base string
	http *http.Client
}

// New returns a client of the daemon at unix://PATH or tcp://HOST:PORT. It does
// not connect yet. It fails with BadRequest for any other address.
func New(host string) (*Client, error) {
	network, address, err := api.ParseHost(host)
	if err != nil {
		return nil, err
	}
	c := &Client{host: host, base: "http://" + address}
	if network == "unix" {
		c.base = "http://localhost"
	}
	dialer := &net.Dialer{Timeout: dialTimeout}
	c.http = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				var op *net.OpError
				if errors.As(err, &op) && ctx.Err() == nil {
					err = op.Err // without the address, which the error names
				}
				return nil, &UnreachableError{Host: host, Err: err}
			}
			return conn, nil
		},
		Proxy: nil,
	}}
	return c, nil
}

// Host is the address of the daemon.
func (c *Client) Host() string { return c.host }

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// do sends a request and reads the answer into out, unless that is nil.
func (c *Client) do(ctx context.Context, method, path string, in, out any) error {
	resp, err := c.send(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // read only
	if out == nil {
		_, err = io.Copy(io.Discard, resp.Body)
	} else {
		err = json.NewDecoder(resp.Body).Decode(out)
	}
	if err != nil {
		return types.InternalErrorf("answer of the daemon at %s: %w", c.host, err)
	}
	return nil
}

// send returns an answer that is a success; the caller closes its body.
func (c *Client) send(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return nil, types.InternalErrorf("encode request: %w", err)
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+api.Prefix+path, body)
	if err != nil {
		return nil, types.BadRequestErrorf("daemon at %s: %w", c.host, err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.transportError(ctx, err)
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close() //nolint:errcheck // read only
	var e api.Error
	data, err := io.ReadAll(io.LimitReader(resp.Body, api.MaxBody))
	if err != nil || json.Unmarshal(data, &e) != nil || e.Message == "" {
		return nil, types.InternalErrorf("the daemon at %s answered %s: is it dnet?", c.host, resp.Status)
	}
	return nil, e.Err()
}

func (c *Client) transportError(ctx context.Context, err error) error {
	if unreachable, ok := errors.AsType[*UnreachableError](err); ok {
		return unreachable
	}
	if ctx.Err() != nil {
		return types.TimeoutErrorf("the daemon at %s: %w", c.host, ctx.Err())
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	return &UnreachableError{Host: c.host, Err: err}
}

// path joins parts, each of which may hold anything.
func path(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteString("/" + url.PathEscape(p))
	}
	return b.String()
}
