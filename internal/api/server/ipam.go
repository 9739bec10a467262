package server

import (
	"net/http"
	"strconv"

	"github.com/libnetwork/libnetwork/internal/api"
	"github.com/libnetwork/libnetwork/internal/engine"
)

func (s *server) listPools(*http.Request) (answer, error) {
	list := []api.Pool{}
	for _, p := range s.e.Pools() {
		list = append(list, viewPool(p))
	}
	return ok(list)
}

func viewPool(p engine.PoolUsage) api.Pool {
	v := api.Pool{
		ID: p.Pool.ID, Manager: p.Manager, Space: p.Pool.Space, Subnet: p.Pool.Prefix.String(), Networks: orEmpty(p.Networks),
		Size: p.Usage.Size().String(), Allocated: p.Usage.Allocated.String(), Free: p.Usage.Free.String(),
		Reserved: strconv.FormatUint(p.Usage.Reserved, 10), Held: strconv.FormatUint(p.Usage.Held, 10),
	}
	if p.Pool.Sub.IsValid() {
		v.IPRange = p.Pool.Sub.String()
	}
	return v
}

func (s *server) auditPools(r *http.Request) (answer, error) {
	a, err := s.e.Audit(r.Context())
	if err != nil {
		return answer{}, err
	}
	v := api.Audit{Pools: a.Pools, Addresses: a.Addresses, Findings: []api.Finding{}}
	for _, f := range a.Findings {
		v.Findings = append(v.Findings, api.Finding{
			Problem: f.Problem, Manager: f.Manager, Pool: f.Pool, Address: f.Addr, Owners: orEmpty(f.Owners),
		})
	}
	return ok(v)
}

// orEmpty has JSON write [] for none.
func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
