package kernel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libnetwork/libnetwork/internal/firewalld"
	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/internal/rtnl"
	"github.com/libnetwork/libnetwork/internal/step"
	"github.com/libnetwork/libnetwork/types"
)

// Where firewalld runs, what our rules accept is not accepted yet: it rejects what
// comes from or goes to an interface that is in none of its zones. So the bridges
// with rules are members of a zone of ours, and a policy lets others into it.
//
// Firewalld is another program, which may be slow, dead, or not there. All that is
// said to it is said by one goroutine, which knows what is wanted and does the
// difference; an operation tells what it wants and waits for a while.

const (
	// zonePatience is how long an operation waits for firewalld, which takes some
	// 50 ms for a member, but seconds to reload. When that was in vain, nobody waits
	// until it has answered.
	zonePatience = 5 * time.Second
	// zoneIdle is how long a repair of rules waits for firewalld to be done with its
	// reload, which takes it about 1 s.
	zoneIdle = 3 * time.Second
	// zoneCall is how long one call may take, zoneReload that to reload.
	zoneCall   = 10 * time.Second
	zoneReload = time.Minute
	// zoneRetry is the first pause after a failure; pauses grow until zoneRest.
	zoneRetry = time.Second
	zoneRest  = time.Minute
	// busRest is the longest pause until a bus that is not there is looked for again.
	busRest = 5 * time.Second
)

// What is told of firewalld.
const (
	zoneRepaired   = "repair"    // something was put back
	zoneConfigured = "configure" // its permanent configuration was changed
	zoneWarned     = "warn"      // it is set up so that something does not work
)

// A zoneKeeper keeps bridges in a zone of firewalld.
type zoneKeeper struct {
	zone  firewalld.Zone
	group uint32
	host  *netns.Namespace
	rt    *rtnl.Socket
	steps *step.Counter
	log   *slog.Logger
	// bridges are those that shall be in the zone.
	bridges func() []string
	// repairRules puts our rules right, when firewalld has flushed all there are.
	repairRules func(context.Context) (bool, error)
	wake        chan struct{}

	mu sync.Mutex // guards the following; before that of the kernel
	// want is what shall be in the zone, nil until somebody has said so.
	want map[string]bool
	// keep says that what is not wanted stays.
	keep bool
	// asked counts what was asked, done how much of it is done.
	asked, done uint64
	// turned is closed when done has changed.
	turned chan struct{}
	// bus is the bus, nil if there is none.
	bus *firewalld.Client
	// there is the way to a firewalld that is on the bus, nil if none is. It may be
	// about to start, or busy.
	there *firewalld.Client
	// dead says that somebody has waited for it in vain.
	dead bool
	// up says that it makes sense to wait: firewalld is there, or may be, and
	// answers.
	up bool
	// lost says that firewalld has begun anew, news counts what it has told.
	lost bool
	news int
	// strict says that it rejects what we publish.
	strict bool
	// rules and foreign are told what the watch of the kernel is to tell.
	rules   func()
	foreign func(action, object string)

	// The following belong to the goroutine.

	running bool // there is one, in our namespace
	loaded  bool // zone and policy are in use
	checked bool // they are in the permanent configuration too
	clean   bool // they are not
	// reloaded says that it has been reloaded in vain, warned that it was told to be
	// strict.
	reloaded, warned bool
	members          map[string]bool   // that we have seen in the zone
	others           map[string]string // bridges in a zone of somebody else's choice
	failed           string            // the error that was logged
}

func newZoneKeeper(k *Kernel) *zoneKeeper {
	return &zoneKeeper{
		zone: Zone(k.cfg.DataDir), group: k.group, host: k.host, rt: k.rt, steps: k.cfg.Steps, log: k.log,
		bridges: k.bridges, repairRules: k.RepairRules, wake: make(chan struct{}, 1), turned: make(chan struct{}),
		members: make(map[string]bool), others: make(map[string]string),
	}
}

// set says that other bridges shall be in the zone, and waits until they are, for a
// while.
func (z *zoneKeeper) set(ctx context.Context) {
	mine := z.ask(false)
	timer := time.NewTimer(zonePatience)
	defer timer.Stop()
	for {
		z.mu.Lock()
		over, turned := z.done >= mine || !z.up, z.turned
		z.mu.Unlock()
		if over {
			return
		}
		select {
		case <-turned:
		case <-ctx.Done():
			return
		case <-timer.C:
			z.mu.Lock()
			z.up, z.dead = false, true
			z.mu.Unlock()
			z.log.Warn("firewalld does not answer; containers may be cut off by it until it does", "waited", zonePatience)
			return
		}
	}
}

// ask says that other bridges shall be in the zone. With keep nothing is taken out of
// it any more.
func (z *zoneKeeper) ask(keep bool) (number uint64) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.keep = z.keep || keep
	z.want = make(map[string]bool)
	// Asked for here, so that who comes last knows the latest.
	for _, b := range z.bridges() {
		z.want[b] = true
	}
	z.asked++
	z.nudge()
	return z.asked
}

func (z *zoneKeeper) nudge() {
	select {
	case z.wake <- struct{}{}:
	default:
	}
}

// settle says that everything up to number is done, or will not be at present. The
// mutex is held.
func (z *zoneKeeper) settle(number uint64, up bool) {
	z.done, z.up = number, up
	close(z.turned)
	z.turned = make(chan struct{})
}

// heard takes down what firewalld tells. Its rules are other ones now, and ours may
// have been flushed: also at its end.
func (z *zoneKeeper) heard(s firewalld.Signal) {
	z.mu.Lock()
	z.lost, z.dead = true, false
	z.news++
	z.there, z.up = z.bus, true
	if s == firewalld.Stopped {
		z.there, z.up = nil, false
	}
	rules := z.rules
	z.mu.Unlock()
	rules()
	z.nudge()
}

// idle waits until firewalld is done with what it does, for a while: when it reloads,
// it flushes all tables of iptables in several steps, and fails if somebody fills them
// meanwhile.
func (z *zoneKeeper) idle(ctx context.Context) {
	z.mu.Lock()
	c := z.there
	if z.dead {
		c = nil
	}
	z.mu.Unlock()
	if c == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, zoneIdle)
	defer cancel()
	if c.Idle(ctx) != nil && ctx.Err() != nil {
		z.mu.Lock()
		z.dead = true
		z.mu.Unlock()
	}
}

// watch takes those who are to be told.
func (z *zoneKeeper) watch(rules func(), foreign func(action, object string)) watch {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.rules, z.foreign = rules, foreign
	z.up = true // until it is known
	return z
}

// Run keeps the zone until ctx ends.
func (z *zoneKeeper) Run(ctx context.Context) error {
	pause := zoneRetry
	for ctx.Err() == nil {
		if c, err := firewalld.Dial(ctx, z.heard); err == nil {
			pause = zoneRetry
			z.serve(ctx, c)
			_ = c.Close()
		} else {
			z.log.Debug("no firewalld", "err", err)
		}
		z.mu.Lock()
		z.strict, z.lost = false, true
		z.bus, z.there = nil, nil
		z.settle(z.asked, false)
		z.mu.Unlock()
		wait(ctx, pause)
		pause = min(2*pause, busRest)
	}
	return nil
}

// wait waits for a while, or until ctx ends.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// serve keeps the zone as long as there is a bus.
func (z *zoneKeeper) serve(ctx context.Context, c *firewalld.Client) {
	retry := time.NewTimer(0)
	defer retry.Stop()
	pause := zoneRetry
	z.forget(c)
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.Done():
			return
		case <-z.wake:
		case <-retry.C:
		}
		z.mu.Lock()
		asked, news := z.asked, z.news
		z.mu.Unlock()
		err := z.sync(ctx, c)
		z.mu.Lock()
		overtaken := z.news != news
		z.mu.Unlock()
		switch {
		case overtaken:
			continue // it is another one now, and will be told at once
		case ctx.Err() != nil || errors.As(err, new(types.NoServiceError)):
			return
		case err == nil:
			pause, z.failed = zoneRetry, ""
			z.mu.Lock()
			z.dead = false
			z.mu.Unlock()
		default:
			if err.Error() != z.failed {
				z.failed = err.Error()
				z.log.Warn("firewalld cannot be told of our bridges; it may cut containers off", "err", err)
			}
			retry.Reset(pause)
			pause = min(2*pause, zoneRest)
		}
		z.mu.Lock()
		if z.news == news {
			z.settle(asked, z.running && err == nil)
		}
		z.mu.Unlock()
	}
}

// forget drops what is known of firewalld, since the bus is a new one.
func (z *zoneKeeper) forget(c *firewalld.Client) {
	z.running, z.reloaded = false, false
	z.mu.Lock()
	z.lost, z.bus = true, c
	z.mu.Unlock()
}

// sync makes the zone what it shall be. When firewalld has forgotten everything, the
// members are what counts, and come first.
func (z *zoneKeeper) sync(ctx context.Context, c *firewalld.Client) error {
	z.mu.Lock()
	want, keep, lost := z.want, z.keep, z.lost
	z.lost = false
	z.mu.Unlock()
	if lost {
		if err := z.look(ctx, c); err != nil {
			z.mu.Lock()
			z.lost = true
			z.mu.Unlock()
			return err
		}
	}
	if !z.running || want == nil {
		return nil
	}
	if len(want) > 0 && !z.loaded {
		if err := z.load(ctx, c); err != nil || !z.loaded {
			return err
		}
	}
	if err := z.arrange(ctx, c, want, keep); err != nil {
		return err
	}
	switch {
	case len(want) > 0 && !z.checked:
		return z.check(ctx, c)
	case len(want) == 0 && !keep && !z.clean:
		return z.cleanUp(ctx, c)
	}
	return nil
}

// look sees whether there is a firewalld that is ours to speak with.
func (z *zoneKeeper) look(ctx context.Context, c *firewalld.Client) error {
	ctx, cancel := context.WithTimeout(ctx, zoneCall)
	defer cancel()
	z.running, z.loaded, z.checked, z.clean = false, false, false, false
	pid, err := c.Process(ctx)
	if err != nil {
		return err
	}
	switch {
	case pid == 0:
		z.warned = false
		return nil
	case !z.hostOf(pid):
		z.log.Debug("firewalld is that of another network namespace", "pid", pid)
		z.mu.Lock()
		z.there = nil
		z.mu.Unlock()
		return nil
	}
	z.mu.Lock()
	z.there = z.bus
	rules := z.rules
	z.mu.Unlock()
	if err := c.Idle(ctx); err != nil {
		return err
	}
	// Its start is over now, and with it the last flush of rules.
	rules()
	z.running = true
	return nil
}

// hostOf says whether a process is in our network namespace, or may be.
func (z *zoneKeeper) hostOf(pid uint32) bool {
	path := fmt.Sprintf("/proc/%d/ns/net", pid)
	if _, err := os.Readlink(path); err != nil {
		return true // of another PID namespace: nobody can tell
	}
	ns, err := netns.Open(nil, path)
	if err != nil {
		return true
	}
	defer ns.Close()
	return netns.Same(ns, z.host)
}

// load sees to it that the zone and the policy are in use. They can be made in the
// permanent configuration alone, and come into use by a reload.
func (z *zoneKeeper) load(ctx context.Context, c *firewalld.Client) (err error) {
	call, cancel := context.WithTimeout(ctx, zoneCall)
	defer cancel()
	if z.loaded, err = c.Loaded(call, z.zone); err != nil || z.loaded {
		return err
	}
	if err := z.make(call, c); err != nil || z.reloaded {
		return err
	}
	z.reloaded = true
	z.log.Warn("firewalld is reloaded, so that it knows our zone; what was changed in it at run time alone is lost", "zone", z.zone.Name)
	z.tell(zoneConfigured, "firewalld reloaded")
	if err := z.steps.Next("firewalld: reload"); err != nil {
		return err
	}
	slow, cancel := context.WithTimeout(ctx, zoneReload)
	defer cancel()
	if err := c.Reload(slow); err != nil {
		return err
	}
	// Whoever waits for us counts on the rules too.
	if _, err := z.repairRules(ctx); err != nil {
		return err
	}
	if z.loaded, err = c.Loaded(slow, z.zone); err != nil {
		return err
	}
	if z.loaded {
		z.reloaded = false
	} else {
		z.log.Error("firewalld does not load our zone; it may cut containers off", "zone", z.zone.Name, "policy", z.zone.Policy)
	}
	return nil
}

// make adds what is missing to the permanent configuration, and says so.
func (z *zoneKeeper) make(ctx context.Context, c *firewalld.Client) error {
	if err := z.steps.Next("firewalld: make " + z.zone.Name); err != nil {
		return err
	}
	made, err := c.Make(ctx, z.zone)
	for _, m := range made {
		z.log.Warn("added to the permanent configuration of firewalld, until the last network is deleted", "object", m)
		z.tell(zoneConfigured, "firewalld "+m+" added")
	}
	z.clean = false
	return err
}

// check looks at what makes no haste: whether the zone and the policy will still be
// there after the next reload, and whether a setting is in the way.
func (z *zoneKeeper) check(ctx context.Context, c *firewalld.Client) error {
	ctx, cancel := context.WithTimeout(ctx, zoneCall)
	defer cancel()
	if err := z.make(ctx, c); err != nil {
		return err
	}
	strict, err := c.StrictForwardPorts(ctx)
	if err != nil {
		return err
	}
	z.mu.Lock()
	z.strict = strict
	z.mu.Unlock()
	if strict && !z.warned {
		z.log.Warn("firewalld has StrictForwardPorts=yes in firewalld.conf: it rejects what comes to ports that are published, unless the same port is forwarded in firewalld too (firewall-cmd --add-forward-port)")
		z.tell(zoneWarned, "firewalld StrictForwardPorts=yes rejects what comes to published ports")
	}
	z.warned, z.checked = strict, true
	return nil
}

func (z *zoneKeeper) isStrict() bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.strict
}

func (z *zoneKeeper) tell(action, object string) {
	z.mu.Lock()
	foreign := z.foreign
	z.mu.Unlock()
	foreign(action, object)
}

// arrange puts into the zone what is wanted there, and takes out what is ours and is
// not.
func (z *zoneKeeper) arrange(ctx context.Context, c *firewalld.Client, want map[string]bool, keep bool) error {
	call := func(f func(context.Context) error) error {
		ctx, cancel := context.WithTimeout(ctx, zoneCall)
		defer cancel()
		return f(ctx)
	}
	var have []string
	err := call(func(ctx context.Context) (err error) {
		have, err = c.Members(ctx, z.zone.Name)
		return err
	})
	if err != nil {
		return err
	}
	for _, b := range slices.Sorted(maps.Keys(want)) {
		if slices.Contains(have, b) {
			z.members[b] = true
			continue
		}
		if err := call(func(ctx context.Context) error { return z.enter(ctx, c, b) }); err != nil {
			return err
		}
	}
	maps.DeleteFunc(z.others, func(b, _ string) bool { return !want[b] })
	for _, b := range have {
		if want[b] || keep || !z.mine(ctx, b) {
			continue
		}
		if err := z.steps.Next("firewalld: drop " + b); err != nil {
			return err
		}
		if err := call(func(ctx context.Context) error { return c.Drop(ctx, z.zone.Name, b) }); err != nil {
			return err
		}
	}
	maps.DeleteFunc(z.members, func(b string, _ bool) bool { return !want[b] })
	return nil
}

// enter puts a bridge into the zone, unless somebody has put it into another one.
func (z *zoneKeeper) enter(ctx context.Context, c *firewalld.Client, bridge string) error {
	if err := z.steps.Next("firewalld: add " + bridge); err != nil {
		return err
	}
	at, err := c.Add(ctx, z.zone.Name, bridge)
	if err != nil {
		return err
	}
	if at != z.zone.Name {
		if z.others[bridge] != at {
			z.others[bridge] = at
			z.log.Warn("a bridge of ours is in a zone of firewalld that somebody has chosen: it stays there, and what that zone refuses is refused",
				"bridge", bridge, "zone", at)
			z.tell(zoneWarned, "firewalld zone "+at+" has the bridge "+bridge)
		}
		return nil
	}
	delete(z.others, bridge)
	if z.members[bridge] {
		z.tell(zoneRepaired, "firewalld zone "+z.zone.Name+" interface "+bridge)
	}
	z.members[bridge] = true
	return nil
}

// mine says whether a member of the zone that is not wanted is ours to take out:
// somebody else may have put something there.
func (z *zoneKeeper) mine(ctx context.Context, bridge string) bool {
	if z.members[bridge] {
		return true
	}
	l, err := z.rt.Link(ctx, bridge)
	return err != nil || l.Group == z.group
}

// cleanUp takes the zone and the policy out of the permanent configuration. Those in
// use stay until the next reload, for which nobody is to be disturbed: a zone without
// members does nothing.
func (z *zoneKeeper) cleanUp(ctx context.Context, c *firewalld.Client) error {
	ctx, cancel := context.WithTimeout(ctx, zoneCall)
	defer cancel()
	if err := z.steps.Next("firewalld: remove " + z.zone.Name); err != nil {
		return err
	}
	removed, left, err := c.Remove(ctx, z.zone)
	for _, r := range removed {
		z.log.Info("removed from the permanent configuration of firewalld", "object", r)
		z.tell(zoneConfigured, "firewalld "+r+" removed")
	}
	if len(left) > 0 {
		z.log.Warn("somebody has changed what we made in firewalld's permanent configuration: it stays", "objects", strings.Join(left, ", "))
	}
	z.checked, z.clean = false, err == nil
	return err
}
