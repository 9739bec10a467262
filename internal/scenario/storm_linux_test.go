//go:build storm

package scenario_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libnetwork/libnetwork/config"
	"github.com/libnetwork/libnetwork/internal/engine"
	assemble "github.com/libnetwork/libnetwork/internal/host"
	"github.com/libnetwork/libnetwork/internal/kernel"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/types"
)

// TestStorm is no part of the suite, since what it does is made up by chance: two data
// directories with networks and containers that come and go, and are stopped and started, while
// somebody damages links, settings and rules. When that has ended all is as it shall be, and a
// start has nothing to put right. It runs by `make storm`, STORM times from the seed STORM_SEED
// on, and keeps the log of a run that fails.
func TestStorm(t *testing.T) {
	number := func(name string, other int) int {
		if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
			return n
		}
		return other
	}
	seed := number("STORM_SEED", int(time.Now().Unix()))
	kinds := []backend{nftables, iptablesNFT, iptablesLegacy}
	for i := range number("STORM", 9) {
		pair := [2]backend{kinds[(seed+i)%3], kinds[(seed+i)/3%3]}
		t.Run(fmt.Sprint(seed+i, " ", pair[0], " and ", pair[1]), func(t *testing.T) {
			nstest.Require(t, backends()[pair[0]], backends()[pair[1]])
			testStorm(t, pair, uint64(seed+i))
		})
	}
}

const (
	stormTime  = 5 * time.Second
	stormQuiet = 2*engineSurvey + time.Second // without a repair
	stormEnd   = 6 * engineSurvey
	// engineSurvey is how often an engine looks for what nobody tells it of.
	engineSurvey = 10 * time.Second
)

// A stormSide is one of the data directories.
type stormSide struct {
	*host
	num int
	mu  sync.Mutex // guards the following
	e   *hostEngine
	n   int // networks made so far
}

func testStorm(t *testing.T, pair [2]backend, seed uint64) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 0))
	router := random.IntN(2) == 0
	var h *host
	if router {
		h = bareHost(t, pair[0].option())
		h.sysctl("ipv4/ip_forward", "1")
		h.sysctl("ipv6/conf/all/forwarding", "1")
	} else {
		h = noRouter(t, pair[0])
	}
	t.Cleanup(func() { // base tables may have been flushed
		if err := standardTables(); err != nil {
			t.Error(err)
		}
	})
	log, err := os.CreateTemp("", fmt.Sprintf("storm-%d-*.log", seed))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	logger := slog.New(slog.NewTextHandler(log, nil))
	o := &host{t: t, data: h.data + "2", run: h.run + "2", opts: []config.Option{pair[1].option()}, own: h.own, lan: h.lan}
	var sides []*stormSide
	for i, of := range []*host{h, o} {
		e := of.engine(assemble.Options{Firewall: kernel.Backend(pair[i]), NoTableOwner: true, Forwarding: !router})
		e.close()
		e.opts.Logger = logger.With("side", i)
		e.open()
		p := uint16(7001 + i)
		of.wide(e, of.wideNetwork(e, 1+i), "stays", []uint16{port}, model.Publish{Proto: 6, First: p, Last: p, Port: port, PortLast: port})
		sides = append(sides, &stormSide{host: of, num: i, e: e})
	}
	end := time.Now().Add(stormTime)
	var wg sync.WaitGroup
	for i, s := range sides {
		wg.Go(func() {
			for r := rand.New(rand.NewPCG(seed, uint64(1+i))); time.Now().Before(end); {
				if err := s.step(r); err != nil {
					logger.Error("operation", "side", i, "err", err)
					// A port may be taken, a network have containers, a bridge just have been taken away.
					if !errors.As(err, new(types.ForbiddenError)) && !strings.Contains(err.Error(), "about to be made again") {
						t.Errorf("side %d: %v", i, err)
					}
				}
			}
		})
	}
	for time.Now().Before(end) {
		command := damage(random, sides, pair, router)
		out, err := run("sh", "-c", command)
		logger.Info("damage", "command", command, "out", out, "err", err)
		time.Sleep(time.Duration(random.IntN(150)) * time.Millisecond)
		if random.IntN(12) == 0 {
			sides[random.IntN(2)].restart(time.Duration(random.IntN(300)) * time.Millisecond)
		}
	}
	wg.Wait()
	quiet(t, sides)
	check := func(when string) {
		t.Helper()
		for i := range sides {
			p := uint16(7001 + i)
			h.visitBy([]string{"tcp"}, visit{who: "lan", from: h.lan, to: at(hostV4, p), want: fmt.Sprint("stays:", port)},
				visit{who: "lan", from: h.lan, to: at(fmt.Sprintf("10.99.%d.2", 1+i), port)})
		}
		if t.Failed() {
			t.Errorf("this is %s", when)
		}
	}
	check("after the storm")
	links := hostLinks(t)
	for i, s := range sides {
		t.Setenv("TABLE", kernel.Table(s.data))
		before := allRules(t, kernel.Backend(pair[i]))
		s.restart(0)
		for kind, n := range s.e.Repairs() {
			if n > 0 {
				t.Errorf("the start of side %d has made %d repairs of kind %s", i, n, kind)
			}
		}
		same(t, "the rules after a start", before, func() string { return allRules(t, kernel.Backend(pair[i])) })
	}
	same(t, "the links after the starts", links, func() string { return hostLinks(t) })
	check("after the starts")
	if !router { // whoever has turned it on needs to hear that the other one has gone
		for _, s := range sides {
			for _, b := range s.e.Sandboxes() {
				if err := b.Delete(t.Context()); err != nil {
					t.Error(err)
				}
			}
			for _, n := range s.e.Networks() {
				if err := n.Delete(t.Context()); err != nil {
					t.Error(err)
				}
			}
		}
		h.forwards("when all has gone", "0")
		time.Sleep(time.Second) // the guard goes after it
	}
	if !t.Failed() {
		_ = os.Remove(log.Name())
		return
	}
	for _, command := range []string{"nft list ruleset", "iptables-legacy-save -c", "ip6tables-legacy-save -c", "ip -d addr", "ip route", "bridge -d link"} {
		out, _ := run(strings.Fields(command)...)
		fmt.Fprintf(log, "# %s\n%s\n", command, out)
	}
	t.Log("see ", filepath.Clean(log.Name()))
}

// quiet waits until nobody repairs anything any more.
func quiet(t *testing.T, sides []*stormSide) {
	t.Helper()
	last, since := uint64(0), time.Now()
	for begun := time.Now(); time.Since(since) < stormQuiet; time.Sleep(100 * time.Millisecond) {
		now := uint64(0)
		for _, s := range sides {
			for _, n := range s.e.Repairs() {
				now += n
			}
		}
		if now != last {
			last, since = now, time.Now()
		}
		if time.Since(begun) > stormEnd {
			t.Fatal("there is no peace")
		}
	}
}

// restart stops and starts the engine.
func (s *stormSide) restart(pause time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.e.close()
	time.Sleep(pause)
	s.e.open()
}

// step makes or removes a network or a container.
func (s *stormSide) step(r *rand.Rand) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var networks []*engine.Network
	for _, n := range s.e.Networks() {
		if strings.HasPrefix(n.Name(), "storm") {
			networks = append(networks, n)
		}
	}
	var boxes []*engine.Sandbox
	for _, b := range s.e.Sandboxes() {
		if b.ContainerID() != "stays" {
			boxes = append(boxes, b)
		}
	}
	s.n++
	switch {
	case len(networks) < 2 || len(networks) < 4 && r.IntN(6) == 0:
		num := 20 + s.num*100 + s.n%100
		options := []map[string]string{
			{"com.docker.network.bridge.gateway_mode_ipv4": "routed"},
			{"com.docker.network.bridge.gateway_mode_ipv4": "nat-unprotected"},
			{"com.docker.network.bridge.enable_icc": "false"},
			nil, nil, nil,
		}[r.IntN(6)]
		_, err := s.e.CreateNetwork(ctx, engine.NetworkRequest{
			Driver: "bridge", Name: fmt.Sprint("storm", s.n), IPv6: r.IntN(2) == 0, Internal: options == nil && r.IntN(2) == 0, Options: options,
			IPAM: model.IPAM{Conf4: []model.IPAMConf{{Pool: fmt.Sprintf("10.99.%d.0/24", num)}}},
		})
		return err
	case len(boxes) < 3 || len(boxes) < 8 && r.IntN(3) == 0:
		var wishes []model.Publish
		for range r.IntN(3) {
			first, more := uint16(8000+s.num*1000+r.IntN(900)), uint16(3*r.IntN(2))
			wishes = append(wishes, model.Publish{Proto: []uint8{6, 17}[r.IntN(2)], First: first, Last: first + more, Port: 80, PortLast: 80 + more})
		}
		name := fmt.Sprint("c", s.n)
		_, err := s.e.CreateContainer(ctx, engine.SandboxRequest{ContainerID: name, Publish: wishes},
			[]engine.AttachRequest{{Network: networks[r.IntN(len(networks))], Endpoint: engine.EndpointRequest{Name: name}}})
		return err
	case r.IntN(4) == 0:
		return networks[r.IntN(len(networks))].Delete(ctx) // Forbidden where it has containers
	default:
		return boxes[r.IntN(len(boxes))].Delete(ctx)
	}
}

// damage is what somebody does to one side or the host, as a command of a shell.
func damage(r *rand.Rand, sides []*stormSide, pair [2]backend, router bool) string {
	i := r.IntN(2)
	table := kernel.Table(sides[i].data)
	list := []string{"nft flush ruleset"}
	switch on := pair[i]; on {
	case nftables:
		for _, what := range []string{"delete table ip", "flush table ip", "delete table ip6"} {
			list = append(list, "nft "+what+" "+table)
		}
		list = append(list, "nft flush chain ip "+table+" forward", "nft flush set ip "+table+" bridges", "nft add rule ip "+table+" forward accept")
	default:
		kind := strings.TrimPrefix(string(on), "iptables-")
		for _, program := range []string{"iptables-" + kind + " -w ", "ip6tables-" + kind + " -w "} {
			for _, what := range []string{
				"-F", "-F FORWARD", "-D FORWARD 1", "-t nat -F", "-t raw -F", "-t nat -F OUTPUT", "-t nat -D POSTROUTING 1",
				"-F C-FORWARD", "-F C-ACCEPT", "-D C-FORWARD 1", "-I C-ACCEPT -j ACCEPT",
			} {
				list = append(list, program+strings.Replace(what, "C-", strings.ToUpper(table)+"-", 1))
			}
		}
	}
	for _, what := range []string{
		"ip link set $l down", "ip link del $l", "ip addr flush dev $l", "ip link set $l nomaster", "ip link set $l mtu 1400",
		"echo 0 > /proc/sys/net/ipv4/conf/$l/forwarding",
	} {
		list = append(list, "l=$(ls /sys/class/net | grep -E '^(br-|veth)' | shuf -n 1); "+what)
	}
	if !router {
		list = append(list, "echo 0 > /proc/sys/net/ipv4/ip_forward")
	}
	return list[r.IntN(len(list))]
}
