// Package metrics shows an engine to Prometheus.
//
// What the engine counts itself is read from its memory when somebody asks; no
// turn of an operation is waited for and none is held up. Durations of requests
// are told by the HTTP API. All methods may be used from many goroutines.
package metrics

import (
	"log/slog"
	"math/big"
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/internal/hostport"
	"github.com/libnetwork/libnetwork/internal/runset"
)

// maxScrapes is how many answers may be made at a time; one more gets 503.
const maxScrapes = 4

// Metrics are those of one engine.
type Metrics struct {
	registry   *prometheus.Registry
	operations *prometheus.HistogramVec
	log        *slog.Logger
}

// New returns the metrics of an engine, in a program of that version.
func New(e *engine.Engine, version string, log *slog.Logger) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		operations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "dnet_operation_duration_seconds", Help: "Time that requests of the API took, by route and result: ok, or the code of the error.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14), // to 4 s
		}, []string{"op", "result"}),
		log: log,
	}
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "dnet_build_info", Help: "Always 1, with the versions of the program and of Go.",
	}, []string{"version", "goversion"})
	build.WithLabelValues(version, runtime.Version()).Set(1)
	m.registry.MustRegister(
		build, m.operations, collector{e},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// Handler answers with all metrics, in the text format of Prometheus or that of
// OpenMetrics, as the client asks.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		MaxRequestsInFlight: maxScrapes, EnableOpenMetrics: true,
		ErrorLog: slog.NewLogLogger(m.log.Handler(), slog.LevelError),
	})
}

// Gatherer is what Handler shows.
func (m *Metrics) Gatherer() prometheus.Gatherer { return m.registry }

// Observe takes down how long a request took: its method and route, and "ok" or the
// code of its error.
func (m *Metrics) Observe(op, result string, took time.Duration) {
	m.operations.WithLabelValues(op, result).Observe(took.Seconds())
}

// collector reads an engine.
type collector struct{ e *engine.Engine }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	networks  = desc("dnet_networks", "Networks that there are, by driver.", "driver")
	endpoints = desc("dnet_endpoints", "Endpoints that there are, joined or not.")
	sandboxes = desc("dnet_sandboxes", "Sandboxes (containers) that there are.")
	ports     = desc("dnet_published_ports",
		"Ports of the host's addresses that are published, by how other programs are kept off them: held (by a socket), checked (when published), rule (no sockets of the protocol) or taken (by another program).", "kept")
	pools = desc("dnet_ipam_pool_addresses",
		"Addresses of each pool by state: allocated, free or reserved (never given).", "manager", "pool", "state")
	repairs = desc("dnet_repairs_total",
		"Repairs of what somebody else had changed or taken away on the host, or a start has found other than recorded, by kind: firewall, link or forwarding.", "kind")
	queries = desc("dnet_dns_queries_total",
		"DNS queries of containers by outcome: local (answered from our names), forwarded, or limited (refused, since too many were waiting).", "outcome")
	failures = desc("dnet_dns_upstream_failures_total", "DNS questions of containers that no other name server answered.")
)

// Describe sends what Collect may send.
func (collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{networks, endpoints, sandboxes, ports, pools, repairs, queries, failures} {
		out <- d
	}
}

// Collect sends what there is now.
func (c collector) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	n := c.e.Counts()
	for driver, count := range n.Networks {
		gauge(networks, float64(count), driver)
	}
	gauge(endpoints, float64(n.Endpoints))
	gauge(sandboxes, float64(n.Sandboxes))
	for _, how := range []hostport.How{hostport.Held, hostport.Checked, hostport.RuleOnly, hostport.Taken} {
		gauge(ports, float64(n.Ports[how]), string(how))
	}
	for _, p := range c.e.Pools() {
		gauge(pools, float(p.Usage.Allocated), p.Manager, p.Pool.ID, "allocated")
		gauge(pools, float(p.Usage.Free), p.Manager, p.Pool.ID, "free")
		gauge(pools, float64(p.Usage.Reserved), p.Manager, p.Pool.ID, "reserved")
	}
	for kind, count := range c.e.Repairs() {
		counter(repairs, count, kind)
	}
	dns := c.e.DNS()
	counter(queries, dns.Local, "local")
	counter(queries, dns.Forwarded, "forwarded")
	counter(queries, dns.Limited, "limited")
	counter(failures, dns.Failed)
}

// float is the nearest number; a subnet of IPv6 has more addresses than one that is
// exact could say.
func float(u runset.Uint128) float64 {
	f, _ := new(big.Float).SetInt(u.Big()).Float64()
	return f
}
