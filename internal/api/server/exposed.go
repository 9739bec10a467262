package server

import (
	"net/http"

	"github.com/libnetwork/libnetwork/internal/api"
	"github.com/libnetwork/libnetwork/internal/exposure"
	"github.com/libnetwork/libnetwork/types"
)

func (s *server) listExposed(r *http.Request) (answer, error) {
	rows, err := s.e.Exposed(r.Context())
	if err != nil {
		return answer{}, err
	}
	list := make([]api.Exposed, 0, len(rows))
	for i := range rows {
		list = append(list, viewExposed(&rows[i]))
	}
	return ok(list)
}

func viewExposed(r *exposure.Row) api.Exposed {
	v := api.Exposed{
		Container: r.Container, Network: r.Network, From: string(r.From), Only: r.Only, InternalToo: r.Internal,
		Protocol: "all", Address: r.Addr, Port: r.First, PortEnd: r.Last, Except: r.Except, SourcePort: r.SourcePort,
		IP: r.Target, ContainerPort: r.Port, ContainerPortEnd: r.Port + (r.Last - r.First),
		Through: "kernel", Why: r.Why, Rules: []api.ExposedRule{}, Warnings: orEmpty(r.Warnings),
	}
	if r.Proto != 0 {
		v.Protocol = types.Protocol(r.Proto).String()
	}
	if r.Forwarded {
		v.Through = "forwarder"
	}
	for _, x := range r.Rules {
		v.Rules = append(v.Rules, api.ExposedRule{Show: x.Show, Text: x.Text})
	}
	return v
}
