package crash

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/types"
)

const (
	loadNetworks = 8
	// patience is how long one operation may take under load before it counts as
	// stuck.
	patience = 10 * time.Second
)

// loads are the victims that do many operations until they are killed.
var loads = map[string]func() int{"load": loadVictim}

// mix is one goroutine's work on networks that it shares with others.
type mix struct {
	w    *world
	nets []*engine.Network
	id   int
	// check is told the result of each operation.
	check func(op string, err error)
}

// do runs one operation with a watchdog, and says whether it succeeded.
func (m mix) do(op string, f func(ctx context.Context) error) bool {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	// One that does not listen to its context ends the process, with all stacks.
	dog := time.AfterFunc(2*patience, func() { panic(op + " is stuck") })
	defer dog.Stop()
	err := f(ctx)
	m.check(op, err)
	return err == nil
}

// round makes a container with two endpoints, uses it, and takes it all away.
func (m mix) round(i int) {
	name := fmt.Sprintf("c%d-%d", m.id, i)
	first, second := m.nets[(m.id+i)%len(m.nets)], m.nets[(m.id+3*i+1)%len(m.nets)]
	var sb *engine.Sandbox
	var one, two *engine.Endpoint
	if !m.do("create sandbox", func(ctx context.Context) (err error) {
		sb, err = m.w.e.CreateSandbox(ctx, sandboxRequest(name, nil))
		return err
	}) {
		return
	}
	m.do("create endpoint", func(ctx context.Context) (err error) {
		one, err = first.CreateEndpoint(ctx, engine.EndpointRequest{Name: name})
		return err
	})
	m.do("create endpoint", func(ctx context.Context) (err error) {
		two, err = second.CreateEndpoint(ctx, engine.EndpointRequest{Name: name + "-two"})
		return err
	})
	if one != nil && m.do("join", func(ctx context.Context) error { return one.Join(ctx, sb, engine.JoinRequest{}) }) {
		m.do("resolve", func(context.Context) error { return m.resolve(sb, one) })
	}
	if two != nil {
		m.do("second join", func(ctx context.Context) error { return two.Join(ctx, sb, engine.JoinRequest{Priority: 5}) })
		m.do("leave", func(ctx context.Context) error { return two.Leave(ctx, sb) })
	}
	m.shared(sb, first, i)
	m.do("rename", func(ctx context.Context) error { return sb.Rename(ctx, name+"-renamed") })
	if two != nil {
		m.do("delete endpoint", func(ctx context.Context) error { return two.Delete(ctx, false) })
	}
	if i%2 == 0 && one != nil {
		m.do("force delete endpoint", func(ctx context.Context) error { return one.Delete(ctx, true) })
	}
	m.do("delete sandbox", sb.Delete)
}

// shared uses endpoints and names that all goroutines fight for.
func (m mix) shared(sb *engine.Sandbox, n *engine.Network, i int) {
	name := fmt.Sprintf("shared-%d", i%2)
	m.do("create shared endpoint", func(ctx context.Context) error {
		_, err := n.CreateEndpoint(ctx, engine.EndpointRequest{Name: name})
		return err
	})
	ep, err := n.EndpointByName(name)
	if err != nil {
		return
	}
	if m.do("join shared endpoint", func(ctx context.Context) error { return ep.Join(ctx, sb, engine.JoinRequest{}) }) {
		m.do("leave shared endpoint", func(ctx context.Context) error { return ep.Leave(ctx, sb) })
	}
	m.do("delete shared endpoint", func(ctx context.Context) error { return ep.Delete(ctx, i%3 == 0) })
}

func (m mix) resolve(sb *engine.Sandbox, ep *engine.Endpoint) error {
	ns, err := netns.Open(nil, sb.Record().Key)
	if err != nil {
		return err
	}
	defer ns.Close()
	got, err := query(ns, ep.Name())
	if want := ep.Record().V4.Addr(); err == nil && got != want {
		err = fmt.Errorf("%s is %s, want %s", ep.Name(), got, want)
	}
	return err
}

func (w *world) loadNetworks() ([]*engine.Network, error) {
	var nets []*engine.Network
	for i := range loadNetworks {
		n, err := w.network(fmt.Sprintf("load%d", i), 100+i, i%4 == 0)
		if err != nil {
			return nil, err
		}
		nets = append(nets, n)
	}
	return nets, nil
}

// allowed says whether an operation may answer this when others work on the same
// objects.
func allowed(err error) bool {
	return err == nil || errors.As(err, new(types.ForbiddenError)) || errors.As(err, new(types.NotFoundError))
}

func TestStress(t *testing.T) {
	inCell(t, func(t *testing.T) {
		empty := pristine(t)
		w := &world{}
		must(t, w.open(true))
		must(t, w.base())
		nets, err := w.loadNetworks()
		must(t, err)
		rounds := 6
		if testing.Short() {
			rounds = 1
		}
		var mu sync.Mutex // guards done and refused
		done, refused := 0, 0
		check := func(op string, err error) {
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				done++
				return
			}
			refused++
			if !allowed(err) {
				t.Errorf("CON-2 %s: %T %v", op, err, err)
			}
		}
		var wg sync.WaitGroup
		for id := range 64 {
			wg.Go(func() {
				for i := range rounds {
					mix{w, nets, id, check}.round(i)
				}
			})
		}
		wg.Wait()
		w.verify(t)
		w.away(t, empty)
		t.Logf("TOLD: %d operations succeeded, %d were refused", done, refused)
	})
}

// loadVictim works with eight goroutines until it is killed.
func loadVictim() int {
	w := &world{}
	err := w.open(true)
	if err == nil {
		err = w.base()
	}
	var nets []*engine.Network
	if err == nil {
		nets, err = w.loadNetworks()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "victim:", err)
		return 1
	}
	_, _ = os.Stdout.WriteString(answered)
	var wg sync.WaitGroup
	for id := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				mix{w, nets, id, func(op string, err error) {
					if !allowed(err) {
						fmt.Fprintln(os.Stderr, "victim:", op, err)
						os.Exit(1)
					}
				}}.round(i)
			}
		})
	}
	wg.Wait()
	return 1
}

// TestKilledUnderLoad kills a process with many operations under way at a moment
// of chance and starts again.
func TestKilledUnderLoad(t *testing.T) {
	for _, keep := range []bool{true, false} {
		t.Run(fmt.Sprintf("keep-alive-%t", keep), func(t *testing.T) {
			inCell(t, func(t *testing.T) {
				rounds := 25
				if testing.Short() {
					rounds = 4
				}
				seed := rand.Uint64()
				t.Logf("TOLD: %d rounds, seed %d", rounds, seed)
				chance := rand.New(rand.NewPCG(seed, 0))
				empty := pristine(t)
				for i := range rounds {
					t.Run(fmt.Sprint(i), func(t *testing.T) {
						killUnderLoad(t, time.Duration(chance.IntN(250))*time.Millisecond)
						restarted(t, keep, empty)
						if t.Failed() {
							reset(t)
						}
					})
				}
			})
		})
	}
}

func killUnderLoad(t *testing.T, after time.Duration) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), victimEnv+"=load")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	if err == nil {
		<-time.After(after)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if line != answered || cmd.ProcessState.Exited() {
		t.Fatalf("the victim ended by itself: %s", stderr.String())
	}
}

func restarted(t *testing.T, keep bool, empty []string) {
	t.Helper()
	w := &world{}
	must(t, w.open(keep))
	if _, err := w.e.SandboxByContainer("keep"); keep && err != nil {
		t.Errorf("a container that nobody touched: %v", err)
	}
	if diff := cmp.Diff(networksOnly(w.state()), w.state()); !keep && diff != "" {
		t.Errorf("more than networks after the start (-want +got):\n%s", diff)
	}
	if got, want := len(w.e.Networks()), 2+loadNetworks; got != want {
		t.Errorf("%d networks after the start, want %d", got, want)
	}
	w.verify(t)
	w.away(t, empty)
}
