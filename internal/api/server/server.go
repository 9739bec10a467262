// Package server answers the HTTP API of the daemon from an engine.
//
// A request is checked as a whole before anything is done for it, waits and ends
// with its connection, and is answered only when its effect can be seen. The
// handler may be used for many requests at once; it starts no goroutine and
// holds no state of its own.
package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"time"

	"github.com/libnetwork/libnetwork/internal/api"
	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/types"
)

// Config says what is served.
type Config struct {
	Engine *engine.Engine
	// Version is that of the program.
	Version string
	// Controller is the id by which OCI hooks find the daemon.
	Controller string
	// Done ends streams of events when it is closed; nil: only the engine does.
	Done <-chan struct{}
	// Metrics answers those who ask for metrics; nil: there are none.
	Metrics http.Handler
	// Observe is told how long each request took, with its method and route, and "ok"
	// or the code of its error. It may be nil.
	Observe func(op, result string, took time.Duration)
	Logger  *slog.Logger // nil: slog.Default
}

// server holds what the routes need.
type server struct {
	e          *engine.Engine
	version    string
	controller string
	done       <-chan struct{}
	observe    func(op, result string, took time.Duration)
	log        *slog.Logger
}

// New returns the handler of all routes.
func New(cfg Config) http.Handler {
	s := &server{e: cfg.Engine, version: cfg.Version, controller: cfg.Controller, done: cfg.Done, observe: cfg.Observe, log: cfg.Logger}
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.observe == nil {
		s.observe = func(string, string, time.Duration) {}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+api.PingPath, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "OK") })
	for pattern, h := range map[string]route{
		"GET /version": s.getVersion,
		"GET /healthz": s.health,

		"POST /networks":                 with(s.createNetwork),
		"GET /networks":                  s.listNetworks,
		"POST /networks/prune":           s.pruneNetworks,
		"GET /networks/{id}":             s.getNetwork,
		"DELETE /networks/{id}":          s.deleteNetwork,
		"POST /networks/{id}/connect":    with(s.connectNetwork),
		"POST /networks/{id}/disconnect": with(s.disconnectNetwork),

		"GET /exposed": s.listExposed,

		"GET /ipam/pools": s.listPools,
		"GET /ipam/audit": s.auditPools,

		"POST /containers":                 with(s.createContainer),
		"GET /containers":                  s.listContainers,
		"GET /containers/{id}":             s.getContainer,
		"DELETE /containers/{id}":          s.deleteContainer,
		"POST /containers/{id}/connect":    with(s.connectContainer),
		"POST /containers/{id}/disconnect": with(s.disconnectContainer),
	} {
		method, path, _ := bytes.Cut([]byte(pattern), []byte(" "))
		mux.HandleFunc(string(method)+" "+api.Prefix+string(path), s.handle(pattern, h))
	}
	if cfg.Metrics != nil {
		mux.Handle("GET "+api.MetricsPath, cfg.Metrics)
		mux.Handle("GET "+api.Prefix+api.MetricsPath, cfg.Metrics)
	}
	mux.HandleFunc("GET "+api.Prefix+"/events", s.streamEvents)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, types.NotFoundErrorf("there is no %s %s", r.Method, r.URL.Path))
	})
	return s.guard(mux)
}

// guard keeps web pages out. A browser lets any page send requests to an address
// of this host; over TCP they would be the only thing that comes without
// somebody having asked for it.
func (s *server) guard(next http.Handler) http.Handler {
	origin := http.NewCrossOriginProtection()
	origin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, types.ForbiddenErrorf("requests of web pages are refused"))
	}))
	next = origin.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A name that has been made to lead here (DNS rebinding) is not an address.
		if _, tcp := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); tcp && !hostIsAddress(r.Host) {
			s.fail(w, r, types.ForbiddenErrorf("host %q: use an IP address or localhost", r.Host))
			return
		}
		next.ServeHTTP(w, r)
	})
}

func hostIsAddress(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	if host == "localhost" {
		return true
	}
	_, err = netip.ParseAddr(host)
	return err == nil
}

// answer is a status and a body, nil for none.
type answer struct {
	status int
	body   any
}

type route func(*http.Request) (answer, error)

func ok(body any) (answer, error) { return answer{http.StatusOK, body}, nil }

// handle turns the route op into a handler.
func (s *server) handle(op string, h route) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, api.MaxBody)
		begin, result := time.Now(), "ok"
		a, err := h(r)
		if err != nil {
			result = api.Code(err)
		}
		s.observe(op, result, time.Since(begin))
		if err != nil {
			s.fail(w, r, err)
			return
		}
		s.write(w, r, a.status, a.body)
	}
}

// with reads the body of a request for a route that takes one.
func with[T any](h func(*http.Request, *T) (answer, error)) route {
	return func(r *http.Request) (answer, error) {
		data, err := io.ReadAll(r.Body)
		if err != nil {
			if errors.As(err, new(*http.MaxBytesError)) {
				return answer{}, types.BadRequestErrorf("the body is larger than %d bytes", api.MaxBody)
			}
			return answer{}, types.BadRequestErrorf("read the body: %w", err)
		}
		v := new(T)
		if err := decode(data, v); err != nil {
			return answer{}, err
		}
		return h(r, v)
	}
}

// decode reads one JSON object. Fields that are not known are refused: they are
// what somebody wanted and would not get.
func decode(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	switch err := d.Decode(v); {
	case errors.Is(err, io.EOF):
		return types.BadRequestErrorf("the body is empty: it must be a JSON object")
	case err != nil:
		return types.BadRequestErrorf("the body is not understood: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return types.BadRequestErrorf("the body has something after the JSON object")
	}
	return nil
}

func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	e := api.Encode(err)
	if e.Code == api.CodeInternal {
		s.log.Error("request failed", "method", r.Method, "path", r.URL.Path, "err", err)
	} else {
		s.log.Debug("request refused", "method", r.Method, "path", r.URL.Path, "err", err)
	}
	s.write(w, r, api.Status(err), e)
}

func (s *server) write(w http.ResponseWriter, r *http.Request, status int, body any) {
	if body == nil {
		w.WriteHeader(status)
		return
	}
	data, err := json.Marshal(body)
	if err != nil {
		s.log.Error("answer cannot be encoded", "path", r.URL.Path, "err", err)
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if _, err := w.Write(append(data, '\n')); err != nil {
		s.log.Debug("answer was not sent", "path", r.URL.Path, "err", err)
	}
}

func (s *server) getVersion(*http.Request) (answer, error) {
	return ok(api.Version{
		Version: s.version, GoVersion: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH, API: "v2",
		Controller: s.controller,
	})
}

func (s *server) health(*http.Request) (answer, error) {
	if err := s.e.Context().Err(); err != nil {
		return answer{}, errStopping
	}
	return ok(api.Health{Status: "ok", Networks: len(s.e.Networks()), Containers: len(s.e.Sandboxes())})
}
